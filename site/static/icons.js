// The theme's Font Awesome script would go on replacing every <i> that a page adds later, a widget's own ones too.
window.FontAwesomeConfig = { observeMutations: false };
