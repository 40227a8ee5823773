import * as z from 'zod';
import { HoldfastError, InvalidInputError } from '../base/errors.js';
import { functionOption } from '../base/options.js';
import { inWords } from '../policies/in-words.js';
import { formatPath, type Step } from '../records/describe.js';
import {
  isStandardSchema,
  type SchemaIssue,
  type SchemaResult,
  type StandardSchema,
} from '../records/standard-schema.js';
import { NewerSchemaError } from './checkpoint.js';

/** Turns a state of one schema version into the next; may answer later. The state it is given is its own to change. */
export type Migration = (state: unknown) => unknown;

/** What states look like, and how older ones become so. */
export interface SchemaOptions<State = unknown> {
  /**
   * What every state must fit: any Standard Schema, as those of zod, valibot and arktype. Default: none, states come
   * back as they were saved. Asked at each save, where nothing is stored if it refuses, and at each restore.
   *
   * A state is stored as it was given; what the schema makes of it (defaults, transforms) is what `restore` returns. So
   * let it accept what it returns: a restored state is the next one to be saved. A schema that answers later sees
   * changes that are made to the state after `save` returned its promise.
   */
  readonly schema?: StandardSchema<State>;
  /** Version of the states that this program saves. Default 1. Raise it by one when older states no longer fit. */
  readonly schemaVersion?: number;
  /**
   * How older states are brought up to date by `restore`: `migrations[2]` makes version 2 out of version 1. Numbers
   * have no gap and end at `schemaVersion`; what is older than the first can no longer be read. They run at each
   * restore of an old checkpoint, whose stored bytes stay as they are, so each must give the same result again.
   */
  readonly migrations?: Readonly<Record<number, Migration>>;
}

/** What `SchemaOptions` may hold, one by one; `prepareSchema` checks that they fit together. */
export const schemaOptionsSchema = z.strictObject({
  schema: z
    .custom<StandardSchema>(isStandardSchema, 'must be a Standard Schema (zod, valibot, arktype, ...)')
    .optional(),
  schemaVersion: z.int().min(1).optional(),
  migrations: z.record(z.string(), functionOption<Migration>()).optional(),
});

/** Which stored state is meant, and the schema version it has. */
export interface StoredState {
  readonly session: string;
  readonly sequence: number;
  readonly version: number;
}

/** Options of states, checked and ready. */
export interface StateSchema {
  /** Of the states that are saved from now on. */
  readonly version: number;
  /**
   * Returns if `state` may be saved. Answers at once if the schema does.
   * @throws InvalidStateError, or as a rejection. What the schema itself throws passes through.
   */
  validate(state: unknown, session: string): void | Promise<void>;
  /**
   * For before a state is read: some need what this program does not have.
   * @throws NewerSchemaError, OlderSchemaError
   */
  requireReadable(of: StoredState): void;
  /**
   * The state as this program knows it: migrated, then as its schema reads it. `state` belongs to the migrations.
   * @throws NewerSchemaError, OlderSchemaError, MigrationError: nothing older may stand in. What the schema itself
   * throws passes through, and nothing older may stand in then either.
   * @throws InvalidStateError if it does not fit the schema; an older checkpoint may.
   */
  bringUpToDate(state: unknown, of: StoredState): Promise<unknown>;
}

/** @throws InvalidInputError if the migrations do not lead to `schemaVersion` without a gap. */
export function prepareSchema({
  schema,
  schemaVersion = 1,
  migrations = {},
}: z.output<typeof schemaOptionsSchema>): StateSchema {
  const oldestVersion = oldestReadable(Object.keys(migrations), schemaVersion);
  const requireReadable = (of: StoredState) => {
    if (of.version > schemaVersion) throw new NewerSchemaError(of.session, of.sequence, of.version, schemaVersion);
    if (of.version < oldestVersion) throw new OlderSchemaError(of, oldestVersion);
  };
  return {
    version: schemaVersion,
    validate(state, session) {
      if (schema === undefined) return;
      const result = schema['~standard'].validate(state);
      const refuse = ({ issues }: SchemaResult<unknown>) => {
        if (issues !== undefined) throw new InvalidStateError({ session }, issues);
      };
      return isLater(result) ? result.then(refuse) : refuse(result);
    },
    requireReadable,
    async bringUpToDate(state, of) {
      requireReadable(of);
      let migrated = state;
      for (let version = of.version + 1; version <= schemaVersion; version++) {
        migrated = await runMigration(migrations[version] as Migration, migrated, { ...of, version }); // No gaps.
      }
      if (schema === undefined) return migrated;
      const result = await schema['~standard'].validate(migrated);
      if (result.issues === undefined) return result.value;
      throw new InvalidStateError(of, result.issues);
    },
  };
}

async function runMigration(toNext: Migration, state: unknown, to: StoredState): Promise<unknown> {
  try {
    const migrated = await toNext(state);
    if (migrated !== undefined) return migrated;
  } catch (cause) {
    throw new MigrationError(to, inWords(cause).replace(/\.+$/, ''), { cause });
  }
  // One that changes the state in place and forgets to return it would lose it here.
  throw new MigrationError(to, 'it returned undefined; return the migrated state');
}

/** A thenable counts, too: taken for a result it would pass as one without issues. */
function isLater<Value>(result: Value | Promise<Value>): result is Promise<Value> {
  return typeof (result as Partial<Promise<Value>>).then === 'function';
}

/** The oldest version that `migrations` can start from. */
function oldestReadable(keys: readonly string[], schemaVersion: number): number {
  const versions = keys.map((key) => migrationVersion(key, schemaVersion));
  const oldest = Math.min(schemaVersion, ...versions.map((version) => version - 1));
  for (let version = oldest + 1; version <= schemaVersion; version++) {
    if (versions.includes(version)) continue;
    const problem = `is missing, so a state of version ${version - 1} cannot become version ${schemaVersion}. Add it.`;
    throw unfitMigration(version, problem);
  }
  return oldest;
}

function migrationVersion(key: string, schemaVersion: number): number {
  const version = Number(key);
  // No migration leads to version 1, which is the first; '02' and '2.0' are no numbers of versions.
  if (!Number.isSafeInteger(version) || version < 2 || String(version) !== key) {
    throw unfitMigration(key, 'is not the number of a version that a migration leads to: a whole number from 2 on.');
  }
  if (version <= schemaVersion) return version;
  throw unfitMigration(key, `leads beyond options.schemaVersion, which is ${schemaVersion}. Raise that.`);
}

function unfitMigration(key: string | number, problem: string): InvalidInputError {
  const path = `options.migrations.${key}`;
  return new InvalidInputError(`${path} ${problem}`, path);
}

/**
 * A checkpoint is older than any that this program can bring up to date. It is intact and was left alone. Add the
 * migrations that are missing, or restore it with the version of the program that saved it.
 */
export class OlderSchemaError extends HoldfastError {
  readonly code = 'HOLDFAST_OLDER_SCHEMA';
  readonly session: string;
  readonly sequence: number;
  readonly schemaVersion: number;
  constructor(
    of: StoredState,
    /** The oldest that this program can read. */
    readonly oldestVersion: number,
  ) {
    super(
      `Checkpoint ${of.sequence} of "${of.session}" has schema version ${of.version}; this program can read ${oldestVersion} and up. Add migrations from migrations[${of.version + 1}] on.`,
    );
    this.session = of.session;
    this.sequence = of.sequence;
    this.schemaVersion = of.version;
  }
}

/**
 * A migration threw, which is the `cause`, or returned nothing. The checkpoint is intact and was left alone; an older
 * one was not taken instead, because a mistake in a migration would then cost work. Mend the migration, then restore
 * again.
 */
export class MigrationError extends HoldfastError {
  readonly code = 'HOLDFAST_MIGRATION_FAILED';
  readonly session: string;
  readonly sequence: number;
  /** Of the migration that failed: `migrations[version]`. */
  readonly version: number;
  constructor(to: StoredState, problem: string, options?: { readonly cause?: unknown }) {
    super(
      `Checkpoint ${to.sequence} of "${to.session}" could not be migrated to schema version ${to.version}: ${problem}. It is intact: mend migrations[${to.version}] and restore again.`,
      options,
    );
    this.session = to.session;
    this.sequence = to.sequence;
    this.version = to.version;
  }
}

/** One thing that is wrong with a state. */
export interface StateIssue {
  /** Where, from the state on: `$.steps[3].name`. */
  readonly path: string;
  readonly message: string;
}

/** A state does not fit its schema. On a save: nothing was written. On a restore: the stored state is left as it is. */
export class InvalidStateError extends HoldfastError {
  readonly code = 'HOLDFAST_INVALID_STATE';
  readonly session: string;
  /** The checkpoint that holds it; `undefined` on a save. */
  readonly sequence: number | undefined;
  /** All that the schema named, in its order. */
  readonly issues: readonly StateIssue[];
  constructor(of: { readonly session: string; readonly sequence?: number }, issues: readonly SchemaIssue[]) {
    const found = issues.map(({ path, message }) => ({ path: pathOf(path), message }));
    const which = of.sequence === undefined ? 'The state' : `Checkpoint ${of.sequence}`;
    const next = of.sequence === undefined ? 'Nothing was saved.' : 'It is left as it is.';
    super(`${which} of "${of.session}" does not fit its schema: ${inBrief(found)}. ${next}`);
    this.session = of.session;
    this.sequence = of.sequence;
    this.issues = found;
  }
}

/** A schema may find fault with every item of a long list. */
const MAX_ISSUES_TOLD = 3;

function inBrief(issues: readonly StateIssue[]): string {
  const told = issues.slice(0, MAX_ISSUES_TOLD).map(({ path, message }) => `${path}: ${message}`);
  const left = issues.length - told.length;
  return left > 0 ? `${told.join('; ')}; and ${left} more` : told.join('; ');
}

function pathOf(path: SchemaIssue['path'] = []): string {
  const steps = path.map((step): Step => {
    const key = typeof step === 'object' ? step.key : step;
    return typeof key === 'symbol' ? key.toString() : key;
  });
  return formatPath([undefined, ...steps], steps.length);
}
