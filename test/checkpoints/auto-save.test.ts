import { type ChildProcess, spawn } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { build } from 'tsup';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type AutoSave, type AutoSaveOptions, startAutoSave } from '../../src/checkpoints/auto-save.js';
import type { CheckpointEvent } from '../../src/checkpoints/checkpoint.js';
import { VirtualClock } from '../../src/testing/virtual-clock.js';
import { type Deferred, deferred } from '../support/deferred.js';

let clock = new VirtualClock();
let events: CheckpointEvent[] = [];
beforeEach(() => {
  clock = new VirtualClock();
  events = [];
});
afterEach(() => {
  expect(process.listenerCount('SIGTERM')).toBe(0);
  expect(clock.pending).toBe(0);
});

const failure = new Error('the disk is full');
const emit = (event: CheckpointEvent) => void events.push(event);

/** Saves at once and counts; numbers are what was saved. */
class Counter {
  saves = 0;
  isChanged = true;
  readonly save = async (): Promise<number | undefined> => (this.isChanged ? ++this.saves : undefined);
}

/** Saves that end when the test says so. */
class Pending {
  readonly begun: Deferred<number>[] = [];
  readonly save = (): Promise<number> => {
    const save = deferred<number>();
    this.begun.push(save);
    return save.promise;
  };
  end(index: number): void {
    this.begun[index]?.resolve(index + 1);
  }
}

type Save = () => Promise<number | undefined>;

/** Every second, to the millisecond. */
const start = (save: Save, options: Partial<AutoSaveOptions> = {}): AutoSave<number> =>
  startAutoSave({ session: 'run', save, clock, emit }, { everyMs: 1_000, jitter: 0, ...options });

const failing = [
  ['a save that rejects', () => Promise.reject(failure)],
  [
    'a state that cannot be taken',
    () => {
      throw failure;
    },
  ],
] satisfies [string, Save][];

describe('ticks', () => {
  test('a save is made each time the wait is over, beginning one wait after the start', async () => {
    const counter = new Counter();
    const autoSave = start(counter.save);
    expect(autoSave.isRunning).toBe(true);
    await clock.advance(999);
    expect(counter.saves).toBe(0);
    await clock.advance(1);
    expect(counter.saves).toBe(1);
    await clock.advance(2_000);
    expect(counter.saves).toBe(3);
    await autoSave.stop();
  });

  test.each([
    ['a tenth less at most by default', undefined, 0, 900],
    ['a tenth more at most by default', undefined, 1, 1_100],
    ['as much as is said', 0.5, 0, 500],
    ['not at all in the middle of the draw', 0.5, 0.5, 1_000],
    ['not at all if so is said', 0, 0.9, 1_000],
  ])('each wait differs: %s', async (_what, jitter, drawn, waitMs) => {
    const counter = new Counter();
    const options = { everyMs: 1_000, random: () => drawn, ...(jitter === undefined ? {} : { jitter }) };
    const autoSave = startAutoSave({ session: 'run', save: counter.save, clock }, options);
    await clock.advance(waitMs - 1);
    expect(counter.saves).toBe(0);
    await clock.advance(1);
    expect(counter.saves).toBe(1);
    await autoSave.stop();
  });

  test('every wait is drawn anew', async () => {
    const counter = new Counter();
    const draws = [0, 1, 0.5];
    const autoSave = start(counter.save, { jitter: 0.1, random: () => draws.shift() ?? 0.5 });
    await clock.advance(900 + 1_100 + 999);
    expect(counter.saves).toBe(2);
    await clock.advance(1);
    expect(counter.saves).toBe(3);
    await autoSave.stop();
  });

  test('the wait does not keep the process alive', async () => {
    const sleep = vi.spyOn(clock, 'sleep');
    const autoSave = start(new Counter().save);
    expect(sleep).toHaveBeenCalledExactlyOnceWith(1_000, expect.objectContaining({ unref: true }));
    await autoSave.stop();
  });

  test('no save begins while one is under way: those times are left out', async () => {
    const pending = new Pending();
    const autoSave = start(pending.save);
    await clock.advance(5_500);
    expect(pending.begun).toHaveLength(1);
    pending.end(0);
    await clock.advance(499);
    expect(pending.begun).toHaveLength(1);
    await clock.advance(1);
    expect(pending.begun).toHaveLength(2);
    pending.end(1);
    await clock.advance(0);
    const stopped = autoSave.stop();
    pending.end(2);
    await stopped;
  });

  test('a process that slept for an hour saves once, and a wait later again', async () => {
    const counter = new Counter();
    const wakes: (() => void)[] = [];
    const waits: number[] = [];
    vi.spyOn(clock, 'sleep').mockImplementation((ms) => {
      waits.push(ms);
      return new Promise((resolve) => wakes.push(resolve));
    });
    const autoSave = start(counter.save);
    await clock.advance(3_600_000);
    wakes[0]?.();
    await clock.advance(0);
    expect(counter.saves).toBe(1);
    expect(waits).toEqual([1_000, 1_000]);
    await autoSave.stop();
  });

  test('a timer that fires in the moment of the stop saves nothing', async () => {
    const counter = new Counter();
    let wake = () => {};
    vi.spyOn(clock, 'sleep').mockReturnValue(new Promise((resolve) => (wake = resolve)));
    const autoSave = start(counter.save);
    await autoSave.stop();
    wake();
    await clock.advance(0);
    expect(counter.saves).toBe(1); // The last one, of the stop.
  });
});

describe('failures', () => {
  test('a clock that fails ends the ticks, and is reported', async () => {
    vi.spyOn(clock, 'sleep').mockRejectedValue(new Error('no timers'));
    const autoSave = start(new Counter().save);
    await clock.advance(0);
    expect(autoSave.isRunning).toBe(false);
    expect(events).toEqual([{ type: 'checkpoint.auto-save-failed', session: 'run', error: 'no timers' }]);
    await autoSave.stop();
  });

  test.each(failing)('%s is reported as an event, and the next time tries again', async (_what, fail) => {
    const save = vi.fn<Save>().mockImplementationOnce(fail).mockResolvedValue(1);
    const autoSave = start(save);
    await clock.advance(1_000);
    expect(events).toEqual([{ type: 'checkpoint.auto-save-failed', session: 'run', error: 'the disk is full' }]);
    expect(autoSave.isRunning).toBe(true);
    await clock.advance(1_000);
    expect(save).toHaveBeenCalledTimes(2);
    expect(events).toHaveLength(1);
    await autoSave.stop();
  });

  test('onError is given the error itself, beside the event', async () => {
    const onError = vi.fn();
    const autoSave = start(vi.fn<Save>().mockRejectedValueOnce(failure), { onError });
    await clock.advance(1_000);
    expect(onError).toHaveBeenCalledExactlyOnceWith(failure);
    expect(events).toHaveLength(1);
    await autoSave.stop();
  });

  test.each([
    [
      'throws',
      () => {
        throw new Error('handler');
      },
    ],
    [
      'rejects',
      async () => {
        throw new Error('handler');
      },
    ],
  ])('an onError that %s becomes a warning, and saving goes on', async (_how, onError) => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const save = vi.fn<Save>().mockRejectedValueOnce(failure).mockResolvedValue(1);
    const autoSave = start(save, { onError });
    await clock.advance(2_000);
    expect(warn).toHaveBeenCalledExactlyOnceWith(
      expect.stringContaining('handler'),
      expect.objectContaining({ code: 'HOLDFAST_LISTENER_ERROR' }),
    );
    expect(save).toHaveBeenCalledTimes(2);
    warn.mockRestore();
    await autoSave.stop();
  });
});

describe('saveNow', () => {
  test('gives what was saved, and undefined if nothing changed', async () => {
    const counter = new Counter();
    const autoSave = start(counter.save);
    expect(await autoSave.saveNow()).toBe(1);
    counter.isChanged = false;
    expect(await autoSave.saveNow()).toBeUndefined();
    await autoSave.stop();
  });

  test.each(failing)('%s rejects it and is reported nowhere else', async (_what, fail) => {
    const onError = vi.fn();
    const autoSave = start(vi.fn<Save>().mockImplementationOnce(fail), { onError });
    await expect(autoSave.saveNow()).rejects.toBe(failure);
    await autoSave.stop();
    expect(events).toEqual([]);
    expect(onError).not.toHaveBeenCalled();
  });

  test('takes the state before it returns when no save is under way', async () => {
    let state = 1;
    const autoSave = start(async () => state);
    const saved = autoSave.saveNow();
    state = 2;
    expect(await saved).toBe(1);
    await autoSave.stop();
  });

  test('waits for the save under way, then saves what is there then; all who wait share it', async () => {
    const pending = new Pending();
    const autoSave = start(pending.save);
    await clock.advance(1_000);
    const saves = [autoSave.saveNow(), autoSave.saveNow()];
    await clock.advance(2_500);
    expect(pending.begun).toHaveLength(1);
    pending.end(0);
    await clock.advance(0);
    expect(pending.begun).toHaveLength(2);
    const third = autoSave.saveNow();
    pending.end(1);
    expect(await Promise.all(saves)).toEqual([2, 2]);
    pending.end(2);
    expect(await third).toBe(3);
    const stopped = autoSave.stop();
    pending.end(3);
    await stopped;
  });

  test('begins after a save that failed, too', async () => {
    const pending = new Pending();
    const autoSave = start(pending.save);
    const [first, second] = [autoSave.saveNow(), autoSave.saveNow()];
    pending.begun[0]?.reject(failure);
    await expect(first).rejects.toBe(failure);
    await clock.advance(0);
    pending.end(1);
    expect(await second).toBe(2);
    const stopped = autoSave.stop();
    pending.end(2);
    await stopped;
  });

  test('two saves never run at once, also when one is asked for the moment another ends', async () => {
    let [running, most] = [0, 0];
    const autoSave = start(async () => {
      most = Math.max(most, ++running);
      await clock.sleep(400);
      return running--;
    });
    const again = () => autoSave.saveNow();
    const chains = Array.from({ length: 3 }, () => again().then(again).then(again).then(again));
    await clock.advance(60_000);
    await Promise.all(chains);
    const stopped = autoSave.stop();
    await clock.advance(1_000);
    await stopped;
    expect(most).toBe(1);
  });
});

describe('stop', () => {
  test('saves what is there, and leaves neither timer nor listener', async () => {
    const counter = new Counter();
    const { signal } = new AbortController();
    const autoSave = start(counter.save, { signal, flushOnSigterm: true });
    expect(process.listenerCount('SIGTERM')).toBe(1);
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    const stopped = autoSave.stop();
    expect(autoSave.isRunning).toBe(false);
    await stopped;
    expect(counter.saves).toBe(1);
    expect(clock.pending).toBe(0);
    expect(process.listenerCount('SIGTERM')).toBe(0);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    await clock.advance(10_000);
    expect(counter.saves).toBe(1);
  });

  test('waits for the save under way and for the last one', async () => {
    const pending = new Pending();
    const autoSave = start(pending.save);
    await clock.advance(1_000);
    let isStopped = false;
    const stopped = autoSave.stop().then(() => (isStopped = true));
    pending.end(0);
    await clock.advance(0);
    expect(pending.begun).toHaveLength(2);
    expect(isStopped).toBe(false);
    pending.end(1);
    await stopped;
  });

  test('twice is one stop', async () => {
    const counter = new Counter();
    const autoSave = start(counter.save);
    expect(autoSave.stop()).toBe(autoSave.stop());
    await autoSave.stop();
    expect(counter.saves).toBe(1);
  });

  test('rejects if the last save failed, reports it nowhere else, has stopped, and saveNow can try again', async () => {
    const save = vi.fn<Save>().mockRejectedValueOnce(failure).mockResolvedValue(1);
    const autoSave = start(save, { flushOnSigterm: true });
    await expect(autoSave.stop()).rejects.toBe(failure);
    expect(events).toEqual([]);
    expect(autoSave.isRunning).toBe(false);
    expect(process.listenerCount('SIGTERM')).toBe(0);
    expect(await autoSave.saveNow()).toBe(1);
  });

  test('is what the end of an `await using` does', async () => {
    const counter = new Counter();
    await start(counter.save)[Symbol.asyncDispose]();
    expect(counter.saves).toBe(1);
  });

  test('can be followed by start, which ticks and can be stopped again', async () => {
    const counter = new Counter();
    const autoSave = start(counter.save, { flushOnSigterm: true });
    await autoSave.stop();
    autoSave.start();
    expect(autoSave.isRunning).toBe(true);
    await clock.advance(1_000);
    expect(counter.saves).toBe(2);
    await autoSave.stop();
    expect(counter.saves).toBe(3);
  });

  test('that still saves when start is called does not take the new listener away', async () => {
    const pending = new Pending();
    const autoSave = start(pending.save, { flushOnSigterm: true });
    const stopped = autoSave.stop();
    autoSave.start();
    pending.end(0);
    await stopped;
    expect(process.listenerCount('SIGTERM')).toBe(1);
    const again = autoSave.stop();
    pending.end(1);
    await again;
  });
});

test('start does nothing while it runs', async () => {
  const counter = new Counter();
  const autoSave = start(counter.save, { flushOnSigterm: true });
  autoSave.start();
  await clock.advance(1_000);
  expect(counter.saves).toBe(1);
  await autoSave.stop();
});

describe('an abort of the signal', () => {
  test('ends the saving without a last save, and leaves neither timer nor listener', async () => {
    const counter = new Counter();
    const controller = new AbortController();
    const autoSave = start(counter.save, { signal: controller.signal, flushOnSigterm: true });
    controller.abort();
    expect(autoSave.isRunning).toBe(false);
    expect(process.listenerCount('SIGTERM')).toBe(0);
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
    await clock.advance(10_000);
    expect(counter.saves).toBe(0);
  });

  test('leaves it to stop to save once more', async () => {
    const counter = new Counter();
    const controller = new AbortController();
    const autoSave = start(counter.save, { signal: controller.signal });
    controller.abort();
    await autoSave.stop();
    expect(counter.saves).toBe(1);
  });

  test('is final: neither start nor a new one begins', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const autoSave = start(new Counter().save, { signal });
    controller.abort(failure);
    expect(() => autoSave.start()).toThrow(failure);
    expect(() => start(new Counter().save, { signal })).toThrow(failure);
    await clock.advance(0);
  });
});

test.each([
  [{}, 'options.everyMs'],
  [{ everyMs: 0 }, 'options.everyMs'],
  [{ everyMs: 1_000, jitter: 1.1 }, 'options.jitter'],
  [{ everyMs: 1_000, onError: 'log' }, 'options.onError'],
  [{ everyMs: 1_000, signal: {} }, 'options.signal'],
  [{ everyMs: 1_000, intervalMs: 1 }, 'options.intervalMs'],
])('options %o are refused, naming %s', (options, path) => {
  const task = { session: 'run', save: new Counter().save, clock };
  expect(() => startAutoSave(task, options as AutoSaveOptions)).toThrow(expect.objectContaining({ path }));
});

describe('SIGTERM', () => {
  const kill = vi.spyOn(process, 'kill');
  beforeEach(() => void kill.mockReset().mockReturnValue(true));
  afterAll(() => kill.mockRestore());

  test('is not listened to unless it is said so', async () => {
    const autoSave = start(new Counter().save);
    expect(process.listenerCount('SIGTERM')).toBe(0);
    await autoSave.stop();
  });

  test('has one listener for all, until the last of them stops', async () => {
    const all = Array.from({ length: 20 }, () => start(new Counter().save, { flushOnSigterm: true }));
    expect(process.listenerCount('SIGTERM')).toBe(1);
    await Promise.all(all.slice(1).map((autoSave) => autoSave.stop()));
    expect(process.listenerCount('SIGTERM')).toBe(1);
    await all[0]?.stop();
    expect(process.listenerCount('SIGTERM')).toBe(0);
  });

  test('stops the saving with a last save, and is raised again when that is done', async () => {
    const pending = new Pending();
    const autoSave = start(pending.save, { flushOnSigterm: true });
    process.emit('SIGTERM');
    expect(autoSave.isRunning).toBe(false);
    await clock.advance(0);
    expect(kill).not.toHaveBeenCalled();
    pending.end(0);
    await autoSave.stop();
    await clock.advance(0);
    expect(kill).toHaveBeenCalledExactlyOnceWith(process.pid, 'SIGTERM');
    expect(pending.begun).toHaveLength(1);
  });

  test('during a stop waits for its last save', async () => {
    const pending = new Pending();
    const stopped = start(pending.save, { flushOnSigterm: true }).stop();
    process.emit('SIGTERM');
    await clock.advance(0);
    expect(kill).not.toHaveBeenCalled();
    pending.end(0);
    await stopped;
    await clock.advance(0);
    expect(kill).toHaveBeenCalledTimes(1);
    expect(pending.begun).toHaveLength(1);
  });

  test('is raised again although the last save failed, which is reported', async () => {
    start(() => Promise.reject(failure), { flushOnSigterm: true });
    process.emit('SIGTERM');
    await clock.advance(0);
    expect(events).toEqual([{ type: 'checkpoint.auto-save-failed', session: 'run', error: 'the disk is full' }]);
    expect(kill).toHaveBeenCalledTimes(1);
  });

  test('told twice is raised again at once', async () => {
    const pending = new Pending();
    const autoSave = start(pending.save, { flushOnSigterm: true });
    process.emit('SIGTERM');
    process.emit('SIGTERM');
    await clock.advance(0);
    expect(kill).toHaveBeenCalledTimes(1);
    pending.end(0);
    await autoSave.stop();
    await clock.advance(0);
  });

  test('is not raised again where the host listens: it decides how the process ends', async () => {
    const heard = vi.fn();
    process.once('SIGTERM', heard);
    const counter = new Counter();
    start(counter.save, { flushOnSigterm: true });
    process.emit('SIGTERM');
    await clock.advance(0);
    expect(counter.saves).toBe(1);
    expect(heard).toHaveBeenCalledTimes(1);
    expect(kill).not.toHaveBeenCalled();
  });

  test('is left to another copy of the package to raise again while that still saves', async () => {
    const otherCopy = Object.assign(() => {}, { [Symbol.for('holdfast.ends-process')]: true });
    process.on('SIGTERM', otherCopy);
    const counter = new Counter();
    start(counter.save, { flushOnSigterm: true });
    process.emit('SIGTERM');
    await clock.advance(0);
    expect(counter.saves).toBe(1);
    expect(kill).not.toHaveBeenCalled();
    process.off('SIGTERM', otherCopy);
  });
});

describe.runIf(process.platform !== 'win32')('a real process', () => {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-auto-save-'));
  const bundles = { one: join(folder, 'one.mjs'), other: join(folder, 'other.mjs') };
  const children: ChildProcess[] = [];

  beforeAll(async () => {
    const entry = Object.fromEntries(Object.keys(bundles).map((name) => [name, 'src/checkpoints/auto-save.ts']));
    const outExtension = () => ({ js: '.mjs' });
    const whole = { noExternal: [/./], splitting: false, config: false as const, silent: true };
    await build({ entry, outDir: folder, format: 'esm', platform: 'node', target: 'node20', outExtension, ...whole });
  });
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** What every script begins with. `hold` keeps the process alive. */
  const preamble = `
    import { startAutoSave } from ${JSON.stringify(pathToFileURL(bundles.one))};
    const clock = {
      sleep: (ms, { signal }) => new Promise((_, reject) => {
        setTimeout(() => {}, ms).unref();
        signal.addEventListener('abort', () => reject(signal.reason));
      }),
    };
    const say = (line) => console.log(line);
    const soon = () => new Promise((resolve) => setTimeout(resolve, 50));
    const task = (session, save) => ({ session, save, clock, emit: ({ type, error }) => say(type + ': ' + error) });
    const saving = (session) => task(session, async () => { await soon(); say('saved ' + session); return 1; });
    const options = { everyMs: 60_000, flushOnSigterm: true };
    const hold = () => setTimeout(() => say('held too long'), 30_000);
  `;

  /** Runs the script; sends it SIGTERM whenever it says one of these lines. */
  async function play(script: string, ...terminateAt: string[]) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', preamble + script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    const said: string[] = [];
    createInterface(child.stdout).on('line', (line) => {
      said.push(line);
      if (terminateAt.includes(line)) child.kill('SIGTERM');
    });
    const [code, signal] = await once(child, 'close');
    return { said, code, signal };
  }

  test('ends by SIGTERM as it would have, after every auto-save has saved', async () => {
    const script = `
      startAutoSave(saving('a'), options); startAutoSave(saving('b'), options); hold(); say('ready');`;
    const { said, code, signal } = await play(script, 'ready');
    expect({ code, signal }).toEqual({ code: null, signal: 'SIGTERM' });
    expect(said.sort()).toEqual(['ready', 'saved a', 'saved b']);
  });

  test('ends by SIGTERM although the last save failed, which is reported', async () => {
    const script = `
      startAutoSave(task('a', () => Promise.reject(new Error('full'))), options); hold(); say('ready');`;
    const { said, signal } = await play(script, 'ready');
    expect(signal).toBe('SIGTERM');
    expect(said).toEqual(['ready', 'checkpoint.auto-save-failed: full']);
  });

  test('ends at the second SIGTERM, whatever the save does', async () => {
    const script = `
      startAutoSave(task('a', () => { say('saving'); return new Promise(() => {}); }), options); hold(); say('ready');`;
    expect(await play(script, 'ready', 'saving')).toMatchObject({ signal: 'SIGTERM', said: ['ready', 'saving'] });
  });

  test('ends by SIGTERM after both saved where two copies of the package are in it', async () => {
    const script = `
      const other = await import(${JSON.stringify(pathToFileURL(bundles.other))});
      startAutoSave(saving('a'), options); other.startAutoSave(saving('b'), options); hold(); say('ready');`;
    const { said, signal } = await play(script, 'ready');
    expect(signal).toBe('SIGTERM');
    expect(said.sort()).toEqual(['ready', 'saved a', 'saved b']);
  });

  test('is not cut off in a shutdown of its own, and hears of the signal once', async () => {
    const script = `
      process.once('SIGTERM', async () => {
        say('closing');
        await soon(); await soon(); await soon();
        say('closed');
        process.exit(3);
      });
      startAutoSave(saving('a'), options); hold(); say('ready');`;
    const { said, code } = await play(script, 'ready');
    expect(said).toEqual(['ready', 'closing', 'saved a', 'closed']);
    expect(code).toBe(3);
  });

  test('dies by SIGTERM at once when the auto-save was stopped', async () => {
    const script = `
      await startAutoSave(saving('a'), options).stop(); hold(); say('ready');`;
    expect(await play(script, 'ready')).toEqual({ said: ['saved a', 'ready'], code: null, signal: 'SIGTERM' });
  });

  test('ends by itself when there is nothing more to do, although an auto-save waits', async () => {
    const script = `startAutoSave(saving('a'), options); say('done');`;
    expect(await play(script)).toEqual({ said: ['done'], code: 0, signal: null });
  });
});
