// How numbers and times are written: in the page's language, as the reader's own country writes it when the browser says so.

const language = document.documentElement.lang;

export const locale = navigator.languages.find((it) => it.toLowerCase().split("-")[0] === language) ?? language;
