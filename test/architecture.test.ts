import { describe, expect, test } from 'vitest';
import {
  chanceInLogic,
  clocksOutsideClock,
  filesOutsideStorage,
  floors,
  folderIndexes,
  importRings,
  longFiles,
  longFunctions,
  roomsWithoutFloor,
  type Sources,
  starExports,
  upwardImports,
  vagueFileNames,
} from './support/architecture.js';
import { filesBelow, readPackageFile } from './support/program.js';

const source: Sources = new Map(filesBelow('src', '.ts').map((path) => [path, readPackageFile(path)]));

/** A house of the given files, as `path: text`. */
const house = (files: Record<string, string>): Sources => new Map(Object.entries(files));

const lines = (count: number, line: string): string => `${line}\n`.repeat(count);

describe('floors', () => {
  test('a room imports itself and lower floors only', () => {
    expect(upwardImports(source)).toEqual([]);
  });

  test('every file stands in a room that has a floor', () => {
    expect(roomsWithoutFloor(source)).toEqual([]);
  });

  test.each([
    ['an import', "import { lease } from '../records/lease.js';"],
    ['a type import', "import type { Lease } from '../records/lease.js';"],
    ['a re-export', "export { lease } from '../records/lease.js';"],
    ['a dynamic import', "const lease = await import('../records/lease.js');"],
    ['an import in a type', "export type Lease = import('../records/lease.js').Lease;"],
    ['a require', "const lease = require('../records/lease.js');"],
  ])('%s of a higher floor is reported with its line', (_kind, line) => {
    const planted = house({ 'src/storage/memory.ts': `\n${line}` });
    expect(upwardImports(planted)).toEqual([
      'src/storage/memory.ts:2 imports ../records/lease.js: storage is below records',
    ]);
  });

  test('an import of a lower floor, of the own room and of a package is no fault', () => {
    const text = "import 'zod';\nimport '../base/clock.js';\nimport './log/frame.js';\nimport 'node:fs';";
    expect(upwardImports(house({ 'src/storage/file.ts': text }))).toEqual([]);
  });

  test.each(floors.filter((rooms) => rooms.length > 1))('%s and %s are strangers to each other', (one, other) => {
    const planted = house({ [`src/${one}/a.ts`]: `import '../${other}/b.js';` });
    expect(upwardImports(planted)).toEqual([
      `src/${one}/a.ts:1 imports ../${other}/b.js: ${one} and ${other} are strangers`,
    ]);
  });

  test('an entry file stands in the room it opens', () => {
    const planted = house({
      'src/policies.ts': "export { retry } from './policies/retry.js';\nimport './records/cell.js';",
    });
    expect(upwardImports(planted)).toEqual(['src/policies.ts:2 imports ./records/cell.js: policies is below records']);
  });

  test('nothing outside testing sees testing', () => {
    const planted = house({ 'src/index.ts': "export { VirtualClock } from './testing/virtual-clock.js';" });
    expect(upwardImports(planted)).toEqual([
      'src/index.ts:1 imports ./testing/virtual-clock.js: nothing outside testing sees testing',
    ]);
  });

  test('testing sees floor 4 and no higher', () => {
    const text = "import './recovery/ladder.js';\nimport './testing/x.js';\nimport './telemetry/bus.js';";
    expect(upwardImports(house({ 'src/testing.ts': text }))).toEqual([
      'src/testing.ts:3 imports ./telemetry/bus.js: testing sees floors 0 to 4',
    ]);
  });

  test('an import that leaves src/ is reported', () => {
    const planted = house({ 'src/base/ids.ts': "import '../../test/support/x.js';" });
    expect(upwardImports(planted)).toEqual(['src/base/ids.ts:1 imports ../../test/support/x.js: leaves src/']);
  });

  test('a folder that no floor knows is reported', () => {
    expect(roomsWithoutFloor(house({ 'src/odds/a.ts': '', 'src/testing/b.ts': '', 'src/base/c.ts': '' }))).toEqual([
      'src/odds/a.ts stands in no known room',
    ]);
  });
});

describe('rings', () => {
  test('no files import each other in a ring', () => {
    expect(importRings(source)).toEqual([]);
  });

  test('a ring of three files is reported, type imports included', () => {
    const planted = house({
      'src/base/a.ts': "import './b.js';",
      'src/base/b.ts': "import type { C } from './c.js';",
      'src/base/c.ts': "export { a } from './a.js';",
    });
    expect(importRings(planted)).toEqual(['src/base/a.ts -> src/base/b.ts -> src/base/c.ts -> src/base/a.ts']);
  });

  test('two ways to the same file are no ring', () => {
    const planted = house({
      'src/base/a.ts': "import './b.js';\nimport './c.js';",
      'src/base/b.ts': "import './c.js';",
      'src/base/c.ts': '',
    });
    expect(importRings(planted)).toEqual([]);
  });
});

describe('size', () => {
  test('no file has more than 300 lines', () => {
    expect(longFiles(source)).toEqual([]);
  });

  test('a file of 301 lines is reported, one of 300 is not', () => {
    const planted = house({ 'src/base/a.ts': lines(301, '//'), 'src/base/b.ts': lines(300, '//') });
    expect(longFiles(planted)).toEqual(['src/base/a.ts has 301 lines, 300 are allowed']);
  });

  test('no function has more than 50 lines', () => {
    expect(longFunctions(source)).toEqual([]);
  });

  test.each([
    ['function', 'function a() {', '}'],
    ['arrow function', 'const a = () => {', '}'],
    ['method', 'class A { b() {', '} }'],
    ['constructor', 'class A { constructor() {', '} }'],
    ['getter', 'class A { get b() {', '} }'],
  ])('a %s of 51 lines is reported, one of 50 is not', (_kind, head, tail) => {
    const planted = house({
      'src/base/a.ts': `\n${head}\n${lines(49, '1;')}${tail}`,
      'src/base/b.ts': `${head}\n${lines(48, '1;')}${tail}`,
    });
    expect(longFunctions(planted)).toEqual(['src/base/a.ts:2 a function has 51 lines, 50 are allowed']);
  });
});

describe('names', () => {
  test('no folder has an index.ts', () => {
    expect(folderIndexes(source)).toEqual([]);
  });

  test('an index.ts inside a folder is reported, the one of src/ is not', () => {
    expect(folderIndexes(house({ 'src/records/index.ts': '', 'src/index.ts': '' }))).toEqual(['src/records/index.ts']);
  });

  test('no file is named after no idea', () => {
    expect(vagueFileNames(source)).toEqual([]);
  });

  test.each(['utils', 'types', 'helpers', 'constants'])('a file or folder called %s is reported', (name) => {
    const planted = house({ [`src/base/${name}.ts`]: '', [`src/base/${name}/a.ts`]: '', 'src/base/clock.ts': '' });
    expect(vagueFileNames(planted)).toEqual([`src/base/${name}.ts`, `src/base/${name}/a.ts`]);
  });
});

describe('time, chance and the outside', () => {
  test('only base/clock.ts reads the clock and sets timers', () => {
    expect(clocksOutsideClock(source)).toEqual([]);
  });

  test.each([
    'Date.now()',
    'new Date()',
    'new Date',
    'Date()',
    'performance.now()',
    'process.hrtime.bigint()',
    'setTimeout(f, 1)',
    'globalThis.setInterval(f, 1)',
    "import { setTimeout as sleep } from 'node:timers/promises'",
    "import { performance as p } from 'node:perf_hooks'",
  ])('%s outside base/clock.ts is reported', (text) => {
    const found = clocksOutsideClock(house({ 'src/records/lease.ts': `\n${text};`, 'src/base/clock.ts': text }));
    expect(found[0]).toMatch(/^src\/records\/lease\.ts:2 .* belongs in base\/clock\.ts$/);
  });

  test('a Date made from a number and the type Date read no clock', () => {
    const text =
      'export const day = (ms: number): Date => new Date(ms);\nexport const is = (x: unknown) => x instanceof Date;';
    expect(clocksOutsideClock(house({ 'src/records/codec.ts': text }))).toEqual([]);
  });

  test('only storage/ and cli/ touch files', () => {
    expect(filesOutsideStorage(source)).toEqual([]);
  });

  test.each(['node:fs', 'node:fs/promises', 'fs'])('an import of %s outside storage/ and cli/ is reported', (name) => {
    const text = `import { open } from '${name}';`;
    const planted = house({ 'src/records/cell.ts': text, 'src/storage/log/frame.ts': text, 'src/cli/main.ts': text });
    expect(filesOutsideStorage(planted)).toEqual([
      `src/records/cell.ts:1 imports ${name}: only storage/ and cli/ touch files`,
    ]);
  });

  test('Math.random is a default argument and nothing else', () => {
    expect(chanceInLogic(source)).toEqual([]);
  });

  test.each(['const x = Math.random();', 'function f(x = Math.random()) {}', 'const random = Math.random;'])(
    '%s is reported',
    (text) => {
      expect(chanceInLogic(house({ 'src/policies/backoff.ts': text }))).toEqual([
        'src/policies/backoff.ts:1 Math.random is a default argument, never a call in logic',
      ]);
    },
  );

  test.each([
    'function f(random = Math.random) {}',
    'function f({ random = Math.random }) {}',
    'const random = options.random ?? Math.random;',
  ])('%s is a default and no fault', (text) => {
    expect(chanceInLogic(house({ 'src/policies/backoff.ts': text }))).toEqual([]);
  });
});

describe('exports', () => {
  test('nothing is exported by a star', () => {
    expect(starExports(source)).toEqual([]);
  });

  test.each(["export * from './base/errors.js';", "export * as errors from './base/errors.js';"])(
    '%s is reported',
    (text) => {
      expect(starExports(house({ 'src/index.ts': text }))).toEqual([`src/index.ts:1 ${text}: name what is exported`]);
    },
  );
});
