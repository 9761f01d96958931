// SPDX-License-Identifier: Apache-2.0
/**
 * A document for xterm where no style may be inline (Content-Security-Policy: style-src 'self'). xterm writes its rules into <style>
 * elements and colours of 24 bits into style attributes, both of which would be refused; style sheets and declarations that are made
 * by script are not, since a script of the page is what may run here anyway.
 */
export function strictDocument(real: Document): Document {
  return new Proxy(real, {
    get(target, key) {
      if (key === 'createElement')
        return (name: string) => (name === 'style' ? sheetElement(real.createElement('span')) : plain(real, name));
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
  });
}

/**
 * While a terminal is opened: one of its parts takes the window's document in any case (xterm 6.0, CoreBrowserTerminal.open, where
 * "??" and "?" are taken in the other order than was meant).
 */
export function openedStrictly(real: Document, open: () => void): void {
  const create = real.createElement.bind(real);
  Object.defineProperty(real, 'createElement', {
    configurable: true,
    value: (name: string) => (name === 'style' ? sheetElement(create('span')) : create(name)),
  });
  try {
    open();
  } finally {
    Reflect.deleteProperty(real, 'createElement');
  }
}

/**
 * After a terminal was opened: what makes its rows has taken the window's document in any case, too (xterm 6.0, DomRenderer), and goes
 * on making characters by it. There is no public way to it; where it is not found the colours of 24 bits are missing.
 */
export function strictRows(terminal: object, strict: Document): void {
  const { _core: core } = terminal as { _core?: { _renderService?: { _renderer?: { value?: RowRenderer } } } };
  const rows = core?._renderService?._renderer?.value?._rowFactory;
  if (rows?._document !== undefined) rows._document = strict;
}

interface RowRenderer {
  readonly _rowFactory?: { _document?: Document };
}

/** In the place of a <style> element: what is written into it is a sheet of the document, for as long as it is in the page. */
function sheetElement(element: HTMLElement): HTMLElement {
  const real = element.ownerDocument;
  element.hidden = true;
  const sheet = new CSSStyleSheet();
  Object.defineProperty(element, 'textContent', {
    set: (text: string) => {
      sheet.replaceSync(text);
      if (!real.adoptedStyleSheets.includes(sheet)) real.adoptedStyleSheets.push(sheet);
    },
    get: () => '',
  });
  Object.defineProperty(element, 'remove', {
    value: () => {
      real.adoptedStyleSheets = real.adoptedStyleSheets.filter((each) => each !== sheet);
      HTMLElement.prototype.remove.call(element);
    },
  });
  return element;
}

function plain(real: Document, name: string): HTMLElement {
  const element = real.createElement(name);
  if (name !== 'span') return element;
  // Characters with colours of their own.
  Object.defineProperty(element, 'setAttribute', {
    value: (attribute: string, value: string) => {
      if (attribute === 'style') element.style.cssText = value;
      else HTMLElement.prototype.setAttribute.call(element, attribute, value);
    },
  });
  return element;
}
