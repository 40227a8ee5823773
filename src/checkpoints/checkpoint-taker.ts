import type { Clock } from '../base/clock.js';
import { LimitError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import type { CodecSettings } from '../records/codec.js';
import { encodeValue } from '../records/encode.js';
import type { CheckpointWriter, PreparedCheckpoint } from './checkpoint-writer.js';
import type { StateSchema } from './migrate.js';
import { MAX_METADATA_BYTES, type SaveOptions, saveSchema } from './options.js';
import { StateEncoder } from './packs/state-encoder.js';

const NONE: SaveOptions = {};

/** What taking a state needs to know. */
export interface TakerSettings {
  readonly codec: CodecSettings;
  readonly schema: StateSchema;
  readonly clock: Clock;
}

/** Takes states as they are at one moment, before anything is awaited. */
export class CheckpointTaker {
  readonly #writer: CheckpointWriter;
  readonly #settings: TakerSettings;
  readonly #encoder: StateEncoder;

  constructor(writer: CheckpointWriter, settings: TakerSettings) {
    this.#writer = writer;
    this.#settings = settings;
    this.#encoder = new StateEncoder(settings.codec);
  }

  /** @throws UnserializableError, LimitError, InvalidInputError, InvalidStateError */
  take(session: string, state: unknown, options?: SaveOptions): PreparedCheckpoint {
    const { schema, clock } = this.#settings;
    const checkedOptions = options === undefined ? NONE : parseOptions(saveSchema, options);
    const { label, operation, metadata: facts, ifSequence } = checkedOptions;
    const without = this.#writer.stored(session);
    const encoded = this.#encoder.encode(state, (id) => without?.has(id) ?? false);
    const metadata = facts && this.#encodeMetadata(facts);
    const allowed = schema.validate(state, session) ?? undefined;
    const { version: schemaVersion } = schema;
    const savedAtMs = clock.now();
    return { state: encoded, without, allowed, savedAtMs, schemaVersion, label, operation, metadata, ifSequence };
  }

  #encodeMetadata(metadata: Readonly<Record<string, unknown>>): string {
    const bytes = encodeValue(metadata, this.#settings.codec);
    if (bytes.length <= MAX_METADATA_BYTES) return bytes.toString('utf8');
    const message = `metadata has ${bytes.length} bytes; ${MAX_METADATA_BYTES} are allowed. Put more into the state.`;
    throw new LimitError(message, 'metadata', MAX_METADATA_BYTES);
  }
}
