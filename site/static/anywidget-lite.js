// Brings the anywidgets of a published page to life from the state that the notebook left in it: no kernel, no
// require.js, no html-manager, no request. A classic script, because module scripts do not load from file://.
//
// It understands what this book uses: anywidgets (https://anywidget.dev/en/afm/) and the links of ipywidgets' jslink and
// jsdlink. Another widget, and a widget that fails, leaves a note in its place.
(() => {
  "use strict";

  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';
  const PREFIX = "IPY_MODEL_"; // how one widget's state names another

  function bytes(buffer) {
    if (buffer.encoding === "hex") {
      const pairs = buffer.data.match(/../g) || [];
      return new DataView(Uint8Array.from(pairs, (pair) => parseInt(pair, 16)).buffer);
    }
    if (Uint8Array.fromBase64) return new DataView(Uint8Array.fromBase64(buffer.data).buffer);
    const text = atob(buffer.data), all = new Uint8Array(text.length);
    for (let i = 0; i < all.length; i++) all[i] = text.charCodeAt(i);
    return new DataView(all.buffer);
  }

  // As deep as JSON goes; buffers are equal only to themselves. A value set again must not wake its listeners, or two
  // linked models would call each other for ever.
  function same(a, b) {
    if (Object.is(a, b)) return true;
    if (typeof a !== "object" || typeof b !== "object" || !a || !b || Array.isArray(a) !== Array.isArray(b)) return false;
    if (ArrayBuffer.isView(a) || ArrayBuffer.isView(b)) return false;
    const keys = Object.keys(a);
    return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
  }

  // The part of Backbone's model that widgets may use.
  class Model {
    constructor(entry, models) {
      this.name = entry.model_name;
      this.state = entry.state;
      this.listeners = [];
      this.models = models;
      for (const buffer of entry.buffers || []) {
        const last = buffer.path.at(-1);
        const owner = buffer.path.slice(0, -1).reduce((value, key) => value[key], this.state);
        owner[last] = bytes(buffer);
      }
      this.widget_manager = {
        get_model: async (reference) => {
          const model = find(models, reference);
          if (!model) throw new Error(`there is no widget model ${reference} on this page`);
          return model;
        },
      };
    }

    get(key) {
      return this.state[key];
    }

    set(key, value) {
      const changes = typeof key === "object" ? key : { [key]: value };
      const changed = Object.keys(changes).filter((name) => !same(this.state[name], changes[name]));
      for (const name of changed) this.state[name] = changes[name];
      for (const name of changed) this.trigger(`change:${name}`, changes[name]);
      if (changed.length) this.trigger("change");
      return this;
    }

    on(names, callback, context) {
      for (const name of names.split(/\s+/)) this.listeners.push({ name, callback, context });
      return this;
    }

    off(names, callback, context) {
      const given = names == null ? null : names.split(/\s+/);
      this.listeners = this.listeners.filter(
        (l) => (given && !given.includes(l.name)) || (callback && callback !== l.callback) || (context && context !== l.context),
      );
      return this;
    }

    trigger(name, value) {
      for (const listener of [...this.listeners]) {
        if (listener.name === name) listener.callback.call(listener.context, this, value);
      }
    }

    save_changes() {} // there is no kernel to save to

    send() {} // nor to talk to
  }

  const find = (models, reference) => models.get(String(reference).replace(PREFIX, ""));

  function link(model, models) {
    const [[sourceName, sourceKey], [targetName, targetKey]] = [model.get("source"), model.get("target")];
    const source = find(models, sourceName);
    const target = find(models, targetName);
    if (!source || !target) throw new Error("a link names a widget that is not on this page");
    const forward = () => target.set(targetKey, source.get(sourceKey));
    source.on(`change:${sourceKey}`, forward);
    if (model.name === "LinkModel") target.on(`change:${targetKey}`, () => source.set(sourceKey, target.get(targetKey)));
    forward();
  }

  const kernel = {
    invoke: () => Promise.reject(new Error("this page has no kernel: open the notebook to call Python")),
  };

  // Widgets of one class carry the same code and style: each is loaded once.
  const modules = new Map();
  function load(code) {
    if (!modules.has(code)) {
      const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
      modules.set(code, import(url).finally(() => URL.revokeObjectURL(url)));
    }
    return modules.get(code);
  }

  const styles = new Set();
  function style(css) {
    if (!css || styles.has(css)) return;
    styles.add(css);
    const element = document.createElement("style");
    element.textContent = css;
    document.head.append(element);
  }

  // The widget of a model: module loaded, initialize called, once for all of its views.
  function start(model, signal) {
    model.started ??= (async () => {
      style(model.get("_css"));
      const module = await load(model.get("_esm"));
      const widget = typeof module.default === "function" ? await module.default() : module.default;
      if (!widget) throw new Error("its module has no default export");
      await widget.initialize?.({ model, signal, experimental: kernel });
      return widget;
    })();
    return model.started;
  }

  function note(element, text) {
    element.className = "gentut-widget-note";
    element.setAttribute("role", "note");
    element.textContent = text;
  }

  // The picture that the page has for readers without JavaScript is for paper too, and for a widget that fails.
  function still(tag) {
    const saved = tag.nextElementSibling;
    if (!saved?.matches("noscript.gentut-still")) return;
    if (!saved.nextElementSibling?.matches("figure.gentut-still")) {
      const template = document.createElement("template");
      template.innerHTML = saved.textContent;
      saved.after(template.content);
    }
    const area = tag.previousElementSibling, figure = saved.nextElementSibling;
    const alive = area.matches(".gentut-widget-area");
    figure.classList.toggle("gentut-on-paper", alive);
    area.classList.toggle("gentut-off-paper", alive && figure.querySelector("img") !== null);
  }

  async function show(tag, models, signal) {
    const element = document.createElement("div");
    // Not widget-subarea: the theme puts that on a light ground when the page is dark.
    element.className = "gentut-widget-area";
    tag.before(element);
    try {
      const model = models.get(JSON.parse(tag.textContent).model_id);
      if (!model) throw new Error("its state is not on this page");
      if (model.name !== "AnyModel") {
        return note(element, "This control needs a kernel: open the notebook in Colab or JupyterLab to use it.");
      }
      const widget = await start(model, signal);
      await widget.render?.({ model, el: element, signal, experimental: kernel });
    } catch (error) {
      console.error(error);
      note(element, `This widget could not start: ${error.message || error}`);
    }
  }

  async function main(firstIsUp) {
    const models = new Map();
    for (const tag of document.querySelectorAll(STATE)) {
      for (const [id, entry] of Object.entries(JSON.parse(tag.textContent).state)) models.set(id, new Model(entry, models));
    }
    for (const model of models.values()) {
      if (model.name === "LinkModel" || model.name === "DirectionalLinkModel") link(model, models);
    }
    // A page keeps its widgets as long as it lives; the signal is there because widgets may listen to it.
    const { signal } = new AbortController();
    for (const tag of document.querySelectorAll(VIEW)) {
      await show(tag, models, signal);
      still(tag);
      firstIsUp();
      await new Promise((resolve) => setTimeout(resolve)); // let the reader scroll between two widgets
    }
  }

  // What else a page has to do (its formulas, formulas.js) may wait for the first widget.
  window.gentutWidgets = {};
  window.gentutWidgets.first = new Promise((resolve) => {
    window.gentutWidgets.all = main(resolve).catch((error) => console.error(error)).finally(resolve);
  });
})();
