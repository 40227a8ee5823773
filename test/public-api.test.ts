import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createProgram, packageRoot } from './support/program.js';
import { createSourceProgram, entries, errorClasses, errorSources, publicNames } from './support/public-api.js';

const program = createSourceProgram();
const namesOfRoot = publicNames(program, 'src/index.ts').map(({ name }) => name);
const errors = errorClasses(program, errorSources);

describe.each(entries)('$specifier', ({ name, source }) => {
  test('exports nothing without a doc comment', () => {
    const silent = publicNames(program, source).filter(({ isDocumented }) => !isDocumented);
    expect(silent).toEqual([]);
  });

  test(`exports what api/${name}.txt lists, name by name (after a wanted change: vitest -u)`, async () => {
    const listing = publicNames(program, source).map((exported) => `${exported.kind} ${exported.name}\n`);
    await expect(listing.join('')).toMatchFileSnapshot(join(packageRoot, `api/${name}.txt`));
  });
});

describe('error classes', () => {
  test('are found at all', () => {
    expect(errors.map(({ name }) => name)).toContain('ConflictError');
  });

  test('are exported from the root, each of them', () => {
    expect(errors.filter(({ name }) => !namesOfRoot.includes(name))).toEqual([]);
  });

  test('have a code of their own that begins with HOLDFAST_', () => {
    const nameless = errors.filter(({ isAbstract, code }) => !isAbstract && !/^HOLDFAST_[A-Z_]+$/.test(code ?? ''));
    expect(nameless).toEqual([]);
  });

  test('share no code', () => {
    const codes = errors.flatMap(({ code }) => code ?? []);
    expect(codes.filter((code, index) => codes.indexOf(code) !== index)).toEqual([]);
  });
});

describe('the checks themselves', () => {
  const planted = createProgram(
    [],
    new Map([
      ['src/planted-base.ts', 'export abstract class HoldfastError extends Error {}\nexport type Silent = string;'],
      [
        'src/planted.ts',
        `import { HoldfastError } from './planted-base.js';
         export { type Silent } from './planted-base.js';
         /** Said. */
         export class FirstError extends HoldfastError { readonly code = 'HOLDFAST_FIRST'; }
         export class SecondError extends FirstError {}
         export class Other {}`,
      ],
    ]),
  );

  test('a re-exported name without a doc comment is seen, a documented one passes', () => {
    const documented = publicNames(planted, 'src/planted.ts').map(({ name, isDocumented }) => [name, isDocumented]);
    expect(documented).toEqual([
      ['FirstError', true],
      ['Other', false],
      ['SecondError', false],
      ['Silent', false],
    ]);
  });

  test('an error below another error is seen, with the code it lacks', () => {
    const found = errorClasses(planted, ['src/planted.ts']).map(({ name, code }) => [name, code]);
    expect(found).toEqual([
      ['FirstError', 'HOLDFAST_FIRST'],
      ['SecondError', undefined],
    ]);
  });
});
