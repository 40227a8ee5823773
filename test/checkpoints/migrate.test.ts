import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { parseOptions } from '../../src/base/options.js';
import { NewerSchemaError } from '../../src/checkpoints/checkpoint.js';
import {
  InvalidStateError,
  MigrationError,
  OlderSchemaError,
  prepareSchema,
  type SchemaOptions,
  schemaOptionsSchema,
} from '../../src/checkpoints/migrate.js';
import type { SchemaIssue, SchemaResult, StandardSchema } from '../../src/records/standard-schema.js';
import { rejectionOf } from '../support/deferred.js';

const prepare = (options: SchemaOptions) => prepareSchema(parseOptions(schemaOptionsSchema, options));
const unchecked = (options: object) => prepare(options as SchemaOptions);

const of = (version: number) => ({ session: 'run', sequence: 7, version });

const run = z.object({ steps: z.array(z.object({ name: z.string() })) });

/** A schema that gives this answer. */
const answering = (answer: (value: unknown) => unknown): StandardSchema => ({
  '~standard': { version: 1, vendor: 'test', validate: answer as () => SchemaResult<unknown> },
});
const withIssues = (...issues: SchemaIssue[]) => answering(() => ({ issues }));

const upTo3 = {
  schemaVersion: 3,
  migrations: {
    3: (state: unknown) => ({ third: state }),
    2: (state: unknown) => ({ second: state }),
  },
};

describe('options', () => {
  test('without any, states are of version 1 and come back as they are', async () => {
    const states = prepare({});
    const state = { steps: 'any' };
    expect(states.version).toBe(1);
    expect(states.validate(state, 'run')).toBeUndefined();
    expect(await states.bringUpToDate(state, of(1))).toBe(state);
  });

  test('a version may be raised without a migration', () => {
    expect(prepare({ schemaVersion: 3 }).version).toBe(3);
  });

  test.each([
    [{ schema: {} }, 'options.schema'],
    [{ schema: null }, 'options.schema'],
    [{ schemaVersion: 0 }, 'options.schemaVersion'],
    [{ schemaVersion: 1.5 }, 'options.schemaVersion'],
    [{ schemaVersion: 2, migrations: { 2: 'rename' } }, 'options.migrations.2'],
    [{ schemaVersion: 2, migrations: [() => ({})] }, 'options.migrations'],
    [{ schemaVersion: 2, migrations: { 1: () => ({}) } }, 'options.migrations.1'],
    [{ schemaVersion: 2, migrations: { '02': () => ({}) } }, 'options.migrations.02'],
    [{ schemaVersion: 2, migrations: { 1.5: () => ({}) } }, 'options.migrations.1.5'],
    [{ schemaVersion: 2, migrations: { v2: () => ({}) } }, 'options.migrations.v2'],
    [{ migrations: { 2: () => ({}) } }, 'options.migrations.2'],
    [{ schemaVersion: 4, migrations: { 2: () => ({}), 4: () => ({}) } }, 'options.migrations.3'],
    [{ schemaVersion: 4, migrations: { 3: () => ({}) } }, 'options.migrations.4'],
    [{ schemaVersion: 1e15, migrations: { 2: () => ({}) } }, 'options.migrations.3'],
  ])('%o is refused, naming %s', (options, path) => {
    expect(() => unchecked(options)).toThrow(expect.objectContaining({ code: 'HOLDFAST_INVALID_INPUT', path }));
  });

  test('a gap is said with what it keeps from being read', () => {
    expect(() => unchecked({ schemaVersion: 4, migrations: { 2: () => ({}), 4: () => ({}) } })).toThrow(
      'options.migrations.3 is missing, so a state of version 2 cannot become version 4. Add it.',
    );
  });
});

describe('a save', () => {
  test('is allowed at once when the state fits', () => {
    expect(prepare({ schema: run }).validate({ steps: [] }, 'run')).toBeUndefined();
  });

  test('is refused at once when it does not, with every issue and its path', () => {
    const state = { steps: [{ name: 'a' }, { name: 2 }, {}] };
    expect(() => prepare({ schema: run }).validate(state, 'run')).toThrow(InvalidStateError);
    expect(() => prepare({ schema: run }).validate(state, 'run')).toThrow(
      expect.objectContaining({
        code: 'HOLDFAST_INVALID_STATE',
        session: 'run',
        sequence: undefined,
        issues: [
          { path: '$.steps[1].name', message: 'Invalid input: expected string, received number' },
          { path: '$.steps[2].name', message: 'Invalid input: expected string, received undefined' },
        ],
        message: expect.stringMatching(
          /^The state of "run" does not fit .* \$\.steps\[1\]\.name: .* Nothing was saved\.$/,
        ),
      }),
    );
  });

  test('is refused later when the schema answers later', async () => {
    const schema = run.refine(async ({ steps }) => steps.length < 2, 'has too many steps');
    const states = prepare({ schema });
    await expect(states.validate({ steps: [{ name: 'a' }] }, 'run')).resolves.toBeUndefined();
    await expect(states.validate({ steps: [{ name: 'a' }, { name: 'b' }] }, 'run')).rejects.toThrow(
      'has too many steps',
    );
  });

  test('is refused by a schema that answers with a promise of its own kind', async () => {
    const issues = [{ message: 'is wrong' }];
    // biome-ignore lint/suspicious/noThenProperty: what another promise library would give.
    const thenable = { then: (resolve: (result: unknown) => unknown) => Promise.resolve({ issues }).then(resolve) };
    const states = prepare({ schema: answering(() => thenable) });
    await expect(states.validate({}, 'run')).rejects.toThrow('$: is wrong');
  });

  test('fails by what the schema itself throws, untouched', () => {
    const bug = new TypeError('a bug in the schema');
    const schema = answering(() => {
      throw bug;
    });
    expect(() => prepare({ schema }).validate({}, 'run')).toThrow(bug);
  });

  test('paths are told whatever way a schema names them', () => {
    const steps = ['a b', 0, { key: 'c' }, Symbol('d')];
    const [issue] = issuesOf(withIssues({ message: 'is wrong', path: steps }));
    expect(issue?.path).toBe('$["a b"][0].c["Symbol(d)"]');
  });

  test('a long list of issues is told in brief and kept whole', () => {
    const issues = Array.from({ length: 50 }, (_, index) => ({ message: 'is wrong', path: [index] }));
    const schema = withIssues(...issues);
    expect(issuesOf(schema)).toHaveLength(50);
    expect(() => prepare({ schema }).validate([], 'run')).toThrow(
      'does not fit its schema: $[0]: is wrong; $[1]: is wrong; $[2]: is wrong; and 47 more. Nothing',
    );
  });

  function issuesOf(schema: StandardSchema): InvalidStateError['issues'] {
    try {
      void prepare({ schema }).validate({}, 'run');
    } catch (error) {
      return (error as InvalidStateError).issues;
    }
    return [];
  }
});

describe('a restore', () => {
  test('runs the migrations that a state lacks, in order, and no others', async () => {
    const states = prepare(upTo3);
    expect(await states.bringUpToDate('a', of(1))).toEqual({ third: { second: 'a' } });
    expect(await states.bringUpToDate('a', of(2))).toEqual({ third: 'a' });
    expect(await states.bringUpToDate('a', of(3))).toBe('a');
  });

  test('awaits each migration, which may change the state in place', async () => {
    const migrations = {
      2: async (state: unknown) => Object.assign(state as object, { second: true }),
      3: (state: unknown) => ({ ...(state as object), third: true }),
    };
    const states = prepare({ schemaVersion: 3, migrations });
    expect(await states.bringUpToDate({}, of(1))).toEqual({ second: true, third: true });
  });

  test('gives what the schema makes of the migrated state', async () => {
    const schema = z.object({ count: z.number().default(5), at: z.coerce.date() });
    const states = prepare({ schema, schemaVersion: 2, migrations: { 2: (state) => ({ at: state }) } });
    expect(await states.bringUpToDate(0, of(1))).toEqual({ count: 5, at: new Date(0) });
  });

  test('awaits a schema that answers later', async () => {
    const schema = z.string().transform(async (text) => text.length);
    expect(await prepare({ schema }).bringUpToDate('abc', of(1))).toBe(3);
  });

  test('refuses a state that does not fit after migration, naming the checkpoint', async () => {
    const migrations = { 2: () => ({ steps: 'none' }) };
    const states = prepare({ schema: run, schemaVersion: 2, migrations });
    const error = await rejectionOf(states.bringUpToDate({ steps: [] }, of(1)));
    expect(error).toBeInstanceOf(InvalidStateError);
    expect(error).toMatchObject({
      session: 'run',
      sequence: 7,
      issues: [{ path: '$.steps', message: 'Invalid input: expected array, received string' }],
      message: expect.stringMatching(/^Checkpoint 7 of "run" does not fit its schema: .* It is left as it is\.$/),
    });
  });

  test('does not ask the schema about a state before it is migrated', async () => {
    const states = prepare({ schema: run, schemaVersion: 2, migrations: { 2: () => ({ steps: [] }) } });
    expect(await states.bringUpToDate('a state of another shape', of(1))).toEqual({ steps: [] });
  });

  test('fails by what the schema itself throws, untouched', async () => {
    const bug = new TypeError('a bug in the schema');
    const states = prepare({ schema: answering(() => Promise.reject(bug)) });
    await expect(states.bringUpToDate({}, of(1))).rejects.toBe(bug);
  });

  test('refuses a state of a newer version before anything looks at it', async () => {
    const error = await rejectionOf(prepare({ ...upTo3, schema: run }).bringUpToDate('a', of(4)));
    expect(error).toBeInstanceOf(NewerSchemaError);
    expect(error).toMatchObject({ session: 'run', sequence: 7, schemaVersion: 4, knownVersion: 3 });
  });

  test('refuses a state that is older than the oldest migration', async () => {
    const { 3: last } = upTo3.migrations;
    const error = await rejectionOf(prepare({ schemaVersion: 3, migrations: { 3: last } }).bringUpToDate('a', of(1)));
    expect(error).toBeInstanceOf(OlderSchemaError);
    expect(error).toMatchObject({
      code: 'HOLDFAST_OLDER_SCHEMA',
      session: 'run',
      sequence: 7,
      schemaVersion: 1,
      oldestVersion: 2,
      message:
        'Checkpoint 7 of "run" has schema version 1; this program can read 2 and up. Add migrations from migrations[2] on.',
    });
  });

  test('refuses any older state where there are no migrations', async () => {
    await expect(prepare({ schemaVersion: 3 }).bringUpToDate('a', of(2))).rejects.toBeInstanceOf(OlderSchemaError);
  });

  test('can be known to be impossible before the state is read', () => {
    const states = prepare({ schemaVersion: 3, migrations: { 3: upTo3.migrations[3] } });
    expect(() => states.requireReadable(of(1))).toThrow(OlderSchemaError);
    expect(states.requireReadable(of(2))).toBeUndefined();
    expect(states.requireReadable(of(3))).toBeUndefined();
    expect(() => states.requireReadable(of(4))).toThrow(NewerSchemaError);
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('no such field.');
      },
    ],
    ['rejects', () => Promise.reject(new Error('no such field.'))],
  ])('a migration that %s fails it with its cause, and later ones do not run', async (_how, failing) => {
    let hasRun = false;
    const migrations = {
      2: failing,
      3: () => {
        hasRun = true;
        return {};
      },
    };
    const error = await rejectionOf(prepare({ schemaVersion: 3, migrations }).bringUpToDate('a', of(1)));
    expect(error).toBeInstanceOf(MigrationError);
    expect(error).toMatchObject({
      code: 'HOLDFAST_MIGRATION_FAILED',
      session: 'run',
      sequence: 7,
      version: 2,
      cause: new Error('no such field.'),
      message:
        'Checkpoint 7 of "run" could not be migrated to schema version 2: no such field. It is intact: mend migrations[2] and restore again.',
    });
    expect(hasRun).toBe(false);
  });

  test('a migration that forgets to return the state fails it instead of losing the state', async () => {
    const migrations = { 2: (state: unknown) => void Object.assign(state as object, { second: true }) };
    const error = await rejectionOf(prepare({ schemaVersion: 2, migrations }).bringUpToDate({}, of(1)));
    expect(error).toBeInstanceOf(MigrationError);
    expect(error).toMatchObject({
      message: expect.stringContaining('it returned undefined; return the migrated state'),
    });
    expect(error).not.toHaveProperty('cause');
  });

  test('a migration may make a state null, and undefined comes back where nothing is migrated', async () => {
    const states = prepare({ schemaVersion: 2, migrations: { 2: () => null } });
    expect(await states.bringUpToDate('a', of(1))).toBeNull();
    expect(await states.bringUpToDate(undefined, of(2))).toBeUndefined();
  });
});
