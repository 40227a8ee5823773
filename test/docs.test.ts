import { describe, expect, inject, test } from 'vitest';
import { compileErrors, documentedCode, runBlock } from './support/documentation.js';
import { codeBlocks } from './support/markdown.js';
import { readPackageFile } from './support/program.js';
import { packageJson } from './support/public-api.js';

const readme = readPackageFile('README.md');
const shellText = codeBlocks(readme)
  .filter(({ language }) => ['sh', 'bash', 'shell'].includes(language))
  .map(({ text }) => text)
  .join('');
const errors = compileErrors(documentedCode);
const block = (text: string) => ({ place: 'planted.md:1', text, isRun: true });

// No describe around them: a suite without tests fails, and a page without TypeScript is no fault.
test.each(documentedCode)('$place compiles against src/', ({ place }) => {
  expect(errors.get(place)).toBe('');
});

test.each(documentedCode.filter(({ isRun }) => isRun))(
  '$place runs to its end in an empty folder',
  { timeout: 40_000 },
  async (documented) => {
    expect(inject('buildFailure')).toBe('');
    await runBlock(documented);
  },
);

describe('commands in the README', () => {
  test.each(['npm ci && npm run demo', 'npm ci && npm test'])('%s is there, word for word', (command) => {
    expect(shellText.split('\n')).toContain(command);
  });

  test('name scripts that package.json has', () => {
    const named = [...shellText.matchAll(/npm (?:run (?<script>[\w:-]+)|(?<short>test))/g)];
    const missing = named
      .map(({ groups }) => groups?.script ?? 'test')
      .filter((script) => !(script in packageJson.scripts));
    expect(missing).toEqual([]);
  });
});

describe('the checks themselves', () => {
  test('blocks are found with language, marks and line, fences inside lists included', () => {
    const text = 'a\n\n```ts no-run\none\n```\n\n- b\n\n  ```sh\n  two\n  ```\n';
    expect(codeBlocks(text)).toEqual([
      { language: 'ts', marks: ['no-run'], line: 3, text: 'one\n' },
      { language: 'sh', marks: [], line: 9, text: 'two\n' },
    ]);
  });

  test('a block that names what is not exported does not compile', () => {
    const planted = block("import { notThere } from 'holdfast';\nnotThere();");
    expect(compileErrors([planted]).get(planted.place)).toMatch(/^line 1: .*notThere/);
  });

  test('a block with a wrong type does not compile, and its line is named', () => {
    const planted = block("import type { Version } from 'holdfast';\n\nexport const version: Version = 1;");
    expect(compileErrors([planted]).get(planted.place)).toMatch(/^line 3: .*not assignable/);
  });

  test('a block runs with the built package, types stripped', async () => {
    const text =
      "import { isHoldfastError } from 'holdfast';\nconst answer: boolean = isHoldfastError(1);\nconsole.log(answer);";
    expect(inject('buildFailure')).toBe('');
    await expect(runBlock(block(text))).resolves.toBe('false\n');
  });

  test('a block that throws is reported with its message', async () => {
    await expect(runBlock(block("throw new Error('this block failed');"))).rejects.toThrow('this block failed');
  });
});

describe('the proofs in docs/guarantees.md', () => {
  const proofs = [...readPackageFile('docs/guarantees.md').matchAll(/`(test\/[\w./-]+\.ts)`/g)].map(([, path]) => path);

  test('are named for each promise', () => {
    expect(proofs.length).toBeGreaterThan(20);
  });

  test.each([...new Set(proofs)])('%s is there', (path) => {
    expect(readPackageFile(path as string)).toMatch(/\btest|\brow|\bexpect/);
  });
});
