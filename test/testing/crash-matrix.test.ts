import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fileStorage } from '../../src/storage/log/file-storage.js';
import type { CrashOptions, CrashProcess, CrashReport, CrashScenario } from '../../src/testing/crash/crash-scenario.js';
import { crashMatrix } from '../../src/testing/crash-matrix.js';
import { plainStore } from './plain-store.js';
import { type ToyFlaw, type ToyTx, toyTransactions } from './toy-transactions.js';

/** Defines `body` for the toy. */
function toy(body: (tx: ToyTx, process: CrashProcess) => Promise<unknown>): CrashScenario<undefined> {
  return (process) => {
    const define = process.transactions.define as unknown as (
      name: string,
      body: (tx: ToyTx) => Promise<unknown>,
    ) => ReturnType<CrashScenario<undefined>>;
    return define('toy', (tx) => body(tx, process));
  };
}

const withFlaws = (...flaws: readonly ToyFlaw[]): CrashOptions<undefined> => ({
  manager: ({ storage }) => toyTransactions(storage, ...flaws),
});

const trip = toy(async (tx, { world }) => {
  const back = { compensate: world.undo };
  await tx.step('flight', world.act, back);
  await Promise.all([
    tx.step('hotel', (step) => world.act(step, { takesMs: 5 }), back),
    tx.step('insurance', (step) => world.act(step, { once: true }), { ...back, verify: world.find }),
  ]);
  await tx.step('car', world.act, back);
  return 'booked';
});

const refusedTrip = toy(async (tx, { world }) => {
  const back = { compensate: world.undo };
  await tx.step('flight', world.act, back);
  await tx.step('hotel', world.act, back);
  await Promise.all([
    tx.step('insurance', (step) => world.act(step, { takesMs: 5 }), back),
    tx.step('car', (step) => world.refuse(step, { takesMs: 2 }), back),
  ]);
});

/** What is sent depends on what was read, and that is another each time. */
const payment = toy(async (tx, { world }) => {
  const rate = await tx.step('rate', async () => String(++readings));
  await tx.step('pay', (step) => world.act(step, { request: { rate } }));
});
let readings = 0;

const flight = toy((tx, { world }) => tx.step('flight', world.act, { compensate: world.undo }));

const sentences = ({ violations }: CrashReport): string[] => violations.map(({ what }) => what);

describe('a transaction that is right', () => {
  test('has no violations, dies at every moment, and then at every moment of its recovery', async () => {
    const report = await crashMatrix(trip, withFlaws());
    // 5 writes and 4 effects with a moment before and one behind each, and two for the end.
    expect(report).toEqual({ runs: 269, moments: 20, violations: [], outcomes: { done: 269 } });
  });

  test('and fails is rolled back at every death', async () => {
    const { violations, outcomes, runs } = await crashMatrix(refusedTrip, withFlaws());
    expect(violations).toEqual([]);
    expect(outcomes).toEqual({ 'rolled-back': runs });
  });

  test('dies once in a run when it is asked to, and each run is then one moment', async () => {
    const { runs, moments } = await crashMatrix(trip, { ...withFlaws(), deaths: 1 });
    expect(runs).toBe(moments + 1);
  });

  test('is right on a store without batch, and on one that every process opens anew', async () => {
    const plain = await crashMatrix(trip, { ...withFlaws(), storage: () => plainStore(), deaths: 1 });
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-crash-'));
    let [opened, destroyed] = [0, 0];
    const files = await crashMatrix(trip, {
      ...withFlaws(),
      deaths: 1,
      storage: () => {
        const store = join(folder, String(destroyed));
        const open = () => fileStorage(store, { durability: 'process' });
        return {
          open: () => {
            opened++;
            return open();
          },
          destroy: async () => {
            destroyed++;
            await rm(store, { recursive: true });
          },
        };
      },
    });
    expect([plain.violations, files.violations]).toEqual([[], []]);
    expect(destroyed).toBe(files.runs);
    expect(opened).toBe(2 + 3 * files.moments);
    expect(await readdir(folder)).toEqual([]);
    await rm(folder, { recursive: true });
  });
});

describe('a flaw is found:', () => {
  const found: readonly (readonly [ToyFlaw, CrashScenario<undefined>, string])[] = [
    ['begins late', trip, 'flight ran with fence 1 in process 2, and 1 in process 1'],
    ['ends late', trip, 'it is running, and its call gave booked'],
    ['answers before it is recorded', payment, 'and with the same key for'],
    ['forgets to record steps', refusedTrip, 'flight was not compensated, and is not said to be left behind'],
    ['forgets to record compensations', refusedTrip, 'insurance was compensated again after that was recorded'],
    ['compensates forwards', refusedTrip, 'flight was compensated before hotel, which was done after it'],
    ['compensates at once', refusedTrip, 'insurance was still running when the compensation of hotel began'],
    ['compensates what failed', refusedTrip, 'car was compensated without having happened'],
    ['compensates nothing', refusedTrip, 'flight was not compensated, and is not said to be left behind'],
    ['compensates with a wrong result', refusedTrip, 'insurance was compensated with what flight gave'],
    ['keys by chance', trip, 'flight was done with another key'],
    ['one key for both ways', refusedTrip, 'the compensation of flight was run with a key of a step'],
    ['never verifies', trip, 'insurance was done twice, and may be done once'],
    ['keeps its fence', trip, 'flight ran with fence 1 in process 2, and 1 in process 1'],
    ['never resumes', trip, 'recover left it running'],
    ['hangs after a crash', trip, 'recover hangs'],
    ['refuses to recover', trip, 'recover failed: the toy does not recover'],
    ['fails to recover', trip, 'it could not be recovered: the toy failed'],
    ['forgets its outcome', flight, 'and called again it gave'],
  ];

  test.each(found)('one that %s', async (flaw, scenario, sentence) => {
    const report = await crashMatrix(scenario, withFlaws(flaw));
    expect(sentences(report)).toContainEqual(expect.stringContaining(sentence));
  });
});

describe('a mistake of the scenario is found:', () => {
  test('a compensation that takes nothing back', async () => {
    const scenario = toy(async (tx, { world }) => {
      await tx.step('flight', world.act, { compensate: () => {} });
      await tx.step('car', world.refuse);
    });
    const { violations } = await crashMatrix(scenario, withFlaws());
    const what = 'flight was not compensated, and is not said to be left behind';
    expect(violations[0]).toEqual({ diedAt: [], moments: [], what });
  });

  test('an effect that only the first run has', async () => {
    let isFirst = true;
    const scenario = toy(async (tx, { world }) => {
      await tx.step('flight', world.act);
      if (isFirst) await tx.step('car', world.act);
      isFirst = false;
    });
    expect(sentences(await crashMatrix(scenario, withFlaws()))).toContain('car is missing, though it is done');
  });

  test('an effect that only later runs have', async () => {
    let runs = 0;
    const scenario = toy(async (tx, { world }) => {
      await tx.step('flight', world.act);
      if (++runs > 1) await tx.step('car', world.act);
    });
    expect(sentences(await crashMatrix(scenario, withFlaws()))).toContain('car was not taken back');
  });

  test('a step that begins although a sibling has failed long ago', async () => {
    const scenario = toy(async (tx, { world, clock }) => {
      const slow = clock.sleep(50).then(() => tx.step('hotel', world.act, { compensate: world.undo }));
      await Promise.all([tx.step('car', world.refuse), slow]).catch(() => slow);
      throw new Error('car was refused');
    });
    const report = await crashMatrix(scenario, withFlaws('starts after a failure'));
    expect(sentences(report)).toContain('hotel was begun after car had failed');
  });

  test('a body that never ends, with sleepers and without', async () => {
    const waiting = toy((_, { clock }) => clock.sleep(1e12));
    const stopped = toy(() => new Promise(() => {}));
    const [slow, silent] = [await crashMatrix(waiting, withFlaws()), await crashMatrix(stopped, withFlaws())];
    expect([sentences(slow)[0], sentences(silent)[0]]).toEqual(['its call hangs', 'its call hangs']);
    expect(slow.outcomes).toEqual({});
  });

  test('a body that takes longer than its patience', async () => {
    const slow = toy((_, { clock }) => clock.sleep(2_000));
    const impatient = await crashMatrix(slow, { ...withFlaws(), patienceMs: 1_000 });
    expect(sentences(impatient)).toContain('its call hangs');
    expect((await crashMatrix(slow, withFlaws())).violations).toEqual([]);
  });

  test('an error that is no outcome of a transaction', async () => {
    const scenario: CrashScenario<undefined> = (process) => {
      const run = flight(process);
      return async (...call) => {
        await run(...call);
        throw new TypeError('a mistake');
      };
    };
    const report = await crashMatrix(scenario, withFlaws());
    expect(sentences(report)).toContain('it is done, and its call failed with an error: a mistake');
  });

  test('a transaction under another id', async () => {
    const scenario: CrashScenario<undefined> = (process) => {
      const run = flight(process);
      return (_id, ...rest) => run('another', ...rest);
    };
    const report = await crashMatrix(scenario, withFlaws());
    expect(sentences(report)).toContain('there is no such transaction after its call has ended');
  });
});

describe('what the host says about endings', () => {
  test('a status that is not allowed is a violation, and one that is allowed is none', async () => {
    const only = { ...withFlaws(), allow: ['done'] as const };
    const report = await crashMatrix(refusedTrip, only);
    expect(sentences(report)[0]).toMatch(/^it ended rolled-back, which is not allowed: .*car was refused/);
    const both = await crashMatrix(refusedTrip, { ...only, allow: ['done', 'rolled-back'] });
    expect(both.violations).toEqual([]);
  });

  test('check sees each ending with all that reached the world, and its throw is a violation', async () => {
    const endings: string[] = [];
    const report = await crashMatrix(flight, {
      ...withFlaws(),
      check: ({ status, result, events }) => {
        endings.push(`${status} ${String(result).slice(0, 8)} ${events.map(({ kind, step }) => `${kind} ${step}`)}`);
        if (events.some(({ isRepeat }) => isRepeat)) throw new Error('flight was asked for again');
      },
    });
    expect(endings).toHaveLength(report.runs);
    expect(new Set(endings)).toContain('done receipt- act flight');
    expect(report.violations[0]).toEqual({
      diedAt: [4],
      moments: ['after act of flight'],
      what: 'flight was asked for again',
    });
  });

  test('the run of one violation is played alone', async () => {
    const report = await crashMatrix(trip, { ...withFlaws('never verifies'), only: [8] });
    expect(report.runs).toBe(2);
    expect(report.violations).toEqual([
      { diedAt: [8], moments: ['after act of insurance'], what: 'insurance was done twice, and may be done once' },
    ]);
  });

  test('no further run is begun once enough is wrong', async () => {
    const { runs, violations } = await crashMatrix(refusedTrip, withFlaws('compensates nothing'));
    expect(violations.length).toBeGreaterThanOrEqual(10);
    expect(runs).toBeLessThan(10);
  });

  test('the input goes to every process', async () => {
    const inputs: string[] = [];
    const scenario: CrashScenario<string> = (process) => {
      const run = flight(process);
      return (id, input, options) => {
        inputs.push(input);
        return run(id, undefined, options);
      };
    };
    const { manager } = withFlaws();
    const { runs } = await crashMatrix(scenario, { ...(manager && { manager }), input: 'a' });
    expect(new Set(inputs)).toEqual(new Set(['a']));
    expect(inputs.length).toBeGreaterThan(runs);
  });

  test.each([
    ['an option that is not known', { dead: 1 }, 'options.dead'],
    ['three deaths', { deaths: 3 }, 'options.deaths'],
    ['a moment 0', { only: [0] }, 'options.only.0'],
    ['a status that is none', { allow: ['lost'] }, 'options.allow.0'],
  ])('%s is refused', async (_, options, path) => {
    await expect(crashMatrix(trip, options as never)).rejects.toMatchObject({ code: 'HOLDFAST_INVALID_INPUT', path });
  });

  test('what the scenario and the factory of the store throw is thrown', async () => {
    const broken = () => {
      throw new Error('broken');
    };
    await expect(crashMatrix(broken, withFlaws())).rejects.toThrow('broken');
    await expect(crashMatrix(trip, { ...withFlaws(), storage: broken })).rejects.toThrow('broken');
  });
});

describe('the world', () => {
  test('calls off an effect that hears its abort, and goes on with the others', async () => {
    const scenario = toy(async (tx, { world, clock }) => {
      const back = { compensate: world.undo };
      await Promise.all([
        tx.step('hotel', (step) => world.act(step, { takesMs: 1_000, hearsAbort: true }), back),
        tx.step('taxi', (step) => world.act(step, { takesMs: 30 }), back),
        clock.sleep(5).then(() => tx.step('car', world.refuse)),
      ]);
    });
    const kinds: string[][] = [];
    const { violations } = await crashMatrix(scenario, {
      ...withFlaws(),
      deaths: 1,
      check: ({ events }) => void kinds.push(events.map(({ kind, step }) => `${kind} ${step}`)),
    });
    expect(violations).toEqual([]);
    expect(kinds[0]).toEqual(['refuse car', 'act taxi', 'undo taxi']);
  });
});
