import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesOf, float16, network } from "../../gentut/widgets/nn.js";
import { bytes, fixture, largest } from "./fixture.js";

test("bytes are read the same from a DataView, a Uint8Array and an ArrayBuffer", () => {
  const base64 = Buffer.from([1, 2, 3, 250]).toString("base64");
  assert.deepEqual([...bytesOf(bytes(base64, DataView))], [1, 2, 3, 250]);
  assert.deepEqual([...bytesOf(bytes(base64, Uint8Array))], [1, 2, 3, 250]);
  assert.deepEqual([...bytesOf(Uint8Array.of(1, 2, 3, 250).buffer)], [1, 2, 3, 250]);
});

test("every float16 number is read exactly", () => {
  const { raw, values } = fixture.float16;
  const read = float16(bytesOf(bytes(raw)), 0, values.length);
  values.forEach((text, i) => {
    const want = Number(text);
    assert.ok(Object.is(read[i], want), `number ${i}: ${read[i]}, not ${want}`);
  });
});

for (const { name, spec, weights, inputs, outputs, batch, tolerance } of fixture.networks) {
  test(`${name}: the forward pass is torch's within ${tolerance}`, () => {
    for (const type of [DataView, Uint8Array]) {
      const net = network(spec, bytesOf(bytes(weights, type)), batch), x = Float32Array.from(inputs);
      const all = net.forward(x, batch).slice(0, net.outputs * batch);
      assert.equal(all.length, outputs.length);
      const off = largest(all, outputs);
      assert.ok(off <= tolerance, `off by ${off}`);
      assert.deepEqual([...x], [...Float32Array.from(inputs)], "the input was overwritten");
      for (let k = 0; k < batch; k++) {
        const one = net.forward(x.subarray(k * net.inputs, (k + 1) * net.inputs));
        assert.ok(largest(all.subarray(k * net.outputs, (k + 1) * net.outputs), one) < 1e-5, `input ${k} alone differs`);
      }
    }
  });
}

test("an operation that nn.js does not have, and too large a batch, are named", () => {
  const { spec, weights } = fixture.networks[0];
  assert.throws(() => network([...spec, { op: "dropout" }], bytesOf(bytes(weights))), /cannot run the operation "dropout"/);
  const net = network(spec, bytesOf(bytes(weights)), 2);
  assert.throws(() => net.forward(new Float32Array(3 * net.inputs), 3), /room for 2 inputs, got 3/);
});
