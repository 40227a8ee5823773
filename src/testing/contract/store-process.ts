import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { systemClock } from '../../base/clock.js';
import { HoldfastError } from '../../base/errors.js';
import { type StorageAdapter, type StorageCapabilities, StorageError } from '../../storage/adapter.js';
import { answerWithin } from '../../storage/answer-within.js';
import { checked } from '../../storage/checked.js';
import { STORE_PROCESS_PROGRAM } from './store-process-program.js';

/** How a process of its own opens the entries of the store under test. */
export interface StoreModule {
  /**
   * An ES module that `node` runs as it stands, as URL or path: `new URL('./my-store.mjs', import.meta.url)`. Its default
   * export takes `argument` and returns the adapter, or a promise of it.
   */
  readonly module: string | URL;
  /** Where the entries are: a directory, the URL of a server. It goes over IPC, so no list of processes shows it. */
  readonly argument?: string;
}

/** The store under test in a process of its own. */
export interface StoreProcess {
  /** Each call is made in that process. It rejects with `StorageError` if the process ends before it has answered. */
  readonly store: StorageAdapter;
  /** `kill -9`. Resolves when the process is gone and all that it had said by then is heard. */
  kill(): Promise<void>;
  /** Closes the store and ends the process. Rejects if the store could not be closed; does nothing once it was killed. */
  end(): Promise<void>;
}

/** How long a process may take to start, and to end. Starting takes 50 ms; many start at once on busy machines. */
const PATIENCE_MS = 20_000;

/** How much of what a process wrote to its standard error is shown when it fails. */
const SHOWN_ERROR_CHARACTERS = 2_000;

/**
 * Starts a process and opens the store in it.
 * @throws StorageError if that fails, with what the process said.
 */
export async function startStoreProcess({ module, argument }: StoreModule): Promise<StoreProcess> {
  const channel = new Channel();
  try {
    const opening = channel.call('open', [urlOf(module), argument]);
    const opened = (await answerWithin(patience('open its store'), opening)) as Pick<
      StorageAdapter,
      'name' | 'capabilities'
    >;
    return { store: checked(remoteStore(channel, opened)), kill: () => channel.kill(), end: () => channel.end() };
  } catch (error) {
    await channel.kill();
    const message = error instanceof Error ? error.message : String(error);
    const said = channel.errorText.slice(-SHOWN_ERROR_CHARACTERS);
    throw new StorageError(`A process of its own could not open the store by ${module}: ${message} ${said}`.trim(), {
      cause: error,
    });
  }
}

function patience(act: string) {
  const late = () => new StorageError(`The process did not ${act} within ${PATIENCE_MS} ms.`);
  return { clock: systemClock, ms: PATIENCE_MS, late };
}

function urlOf(module: string | URL): string {
  if (module instanceof URL) return module.href;
  return /^(file|data|node):/.test(module) ? module : pathToFileURL(resolve(module)).href;
}

/** The adapter of the other process. Signals cannot be sent there: `checked` looks at them before the call. */
function remoteStore(
  channel: Channel,
  { name, capabilities }: { readonly name: string; readonly capabilities: StorageCapabilities },
): StorageAdapter {
  const call = <Result>(method: string, ...values: readonly unknown[]) =>
    channel.call(method, values) as Promise<Result>;
  return {
    name: `${name} in another process`,
    capabilities: { ...capabilities, watch: false },
    get: (key) => call('get', key),
    put: (key, value, options) => call('put', key, value, withoutSignal(options)),
    delete: (key, options) => call('delete', key, withoutSignal(options)),
    list: (prefix, options) => call('list', prefix, withoutSignal(options)),
    ...(capabilities.atomicBatch && { batch: (operations) => call('batch', operations) }),
  };
}

function withoutSignal<Options extends { readonly signal?: AbortSignal }>(options: Options | undefined) {
  if (options === undefined) return undefined;
  const { signal, ...rest } = options;
  return rest;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: FlatError;
}

interface FlatError {
  readonly message: string;
  readonly code?: unknown;
  readonly key?: unknown;
  readonly currentVersion?: unknown;
}

interface Asker {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/** Calls of a process and their answers. */
class Channel {
  errorText = '';
  readonly #process: ChildProcess;
  readonly #gone: Promise<unknown>;
  readonly #askers = new Map<number, Asker>();
  #calls = 0;

  constructor() {
    this.#process = spawn(process.execPath, ['--input-type=module', '--eval', STORE_PROCESS_PROGRAM], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'advanced', // Bytes stay bytes.
    });
    // 'close' comes after the last message, 'exit' may come before it: an acknowledgement is never overheard.
    this.#gone = once(this.#process, 'close');
    this.#gone.catch(() => {}); // Whoever waits for it is told.
    this.#process.on('close', () => this.#endAll());
    this.#process.on('message', (answer: Answer) => this.#settle(answer));
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.errorText = `${this.errorText}${text}`.slice(-SHOWN_ERROR_CHARACTERS);
    });
  }

  call(method: string, values: readonly unknown[]): Promise<unknown> {
    const id = ++this.#calls;
    return new Promise((resolve, reject) => {
      this.#askers.set(id, { resolve, reject });
      this.#process.send({ id, method, values }, (error) => {
        if (error) this.#settle({ id, error: { message: 'The process has ended.' } });
      });
    });
  }

  async kill(): Promise<void> {
    this.#process.kill('SIGKILL');
    await this.#gone;
  }

  /** Closes the store, then ends the process. Nothing is left to do if it has ended. */
  async end(): Promise<void> {
    if (!this.#process.connected) return;
    const [closing] = await Promise.allSettled([answerWithin(patience('close its store'), this.call('close', []))]);
    await this.kill(); // 'close' would not come if we disconnected; and what was closed has nothing left to do.
    if (closing.status === 'rejected') throw closing.reason;
  }

  #settle({ id, value, error }: Answer): void {
    const asker = this.#askers.get(id);
    this.#askers.delete(id);
    if (error === undefined) asker?.resolve(value);
    else asker?.reject(revived(error));
  }

  #endAll(): void {
    const error = { message: 'The process ended before it had answered.' };
    for (const id of this.#askers.keys()) this.#settle({ id, error });
  }
}

/** An error that was thrown in another process; errors of holdfast keep their code and fields. */
class ErrorElsewhere extends HoldfastError {
  constructor(
    readonly code: string,
    { message, key, currentVersion }: FlatError,
  ) {
    super(message);
    Object.assign(this, { key, currentVersion });
  }
}

/** Anything but an error of holdfast is a plain one again, for `checked` to name. */
function revived(error: FlatError): Error {
  const { code, message } = error;
  return typeof code === 'string' && code.startsWith('HOLDFAST_')
    ? new ErrorElsewhere(code, error)
    : new Error(message);
}
