/** A fenced block of a Markdown text; `line` is that of its opening fence. */
export interface CodeBlock {
  readonly language: string;
  /** What follows the language on the fence, word by word. */
  readonly marks: readonly string[];
  readonly line: number;
  readonly text: string;
}

/** Every fenced block of `markdown`, in order; indented fences lose their indentation. */
export function codeBlocks(markdown: string): CodeBlock[] {
  const fence = /^([ \t]*)```([^\s`]*)[ \t]*([^\n`]*)\n([\s\S]*?)^[ \t]*```[ \t]*$/gm;
  return [...markdown.matchAll(fence)].map(
    ({ index, 1: indent = '', 2: language = '', 3: marks = '', 4: text = '' }) => ({
      language,
      marks: marks.split(/\s+/).filter((mark) => mark !== ''),
      line: markdown.slice(0, index).split('\n').length,
      text: indent === '' ? text : text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
    }),
  );
}
