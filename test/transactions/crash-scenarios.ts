import { TimeoutError } from '../../src/policies/timeout.js';
import type { CrashOptions, CrashProcess, CrashScenario } from '../../src/testing/crash/crash-scenario.js';
import type { CrashWorld, EffectOptions } from '../../src/testing/crash/crash-world.js';
import type { CompensationContext, DefineOptions, StepRun, Tx } from '../../src/transactions/transaction.js';
import { TransactionManager } from '../../src/transactions/transaction-manager.js';

/** A scenario and what is asked of it. */
export interface NamedScenario {
  readonly name: string;
  readonly scenario: CrashScenario<undefined>;
  /** Statuses it may end in. The first is that of the run in which nobody dies. */
  readonly allow: NonNullable<CrashOptions<undefined>['allow']>;
  /** 1 where a second death would only try again what other scenarios try. Default 2. */
  readonly deaths?: 1 | 2;
}

type Body = (tx: Tx, world: CrashWorld, process: CrashProcess) => Promise<unknown>;

const trip =
  (body: Body, options: DefineOptions<undefined> = {}): CrashScenario<undefined> =>
  (process) =>
    process.transactions.define('trip', (tx) => body(tx, process.world, process), options);

const done = (name: string, body: Body): NamedScenario => ({ name, scenario: trip(body), allow: ['done'] });

const rolledBack = (name: string, body: Body): NamedScenario => ({
  name,
  scenario: trip(body),
  allow: ['rolled-back'],
});

const oneDeath = (scenario: NamedScenario): NamedScenario => ({ ...scenario, deaths: 1 });

const never = new Promise<never>(() => {});

/** An effect with something said about it. */
const acting =
  (world: CrashWorld, options: EffectOptions): StepRun<string> =>
  (step) =>
    world.act(step, options);

/** It fails after so long. */
const refusing =
  (world: CrashWorld, takesMs: number): StepRun<never> =>
  (step) =>
    world.refuse(step, { takesMs });

const straight: readonly NamedScenario[] = [
  oneDeath(
    done('one step after the other', async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      await tx.step('hotel', world.act, world.undo);
      return tx.step('car', world.act, world.undo);
    }),
  ),
  rolledBack('the last step fails', async (tx, world) => {
    await tx.step('flight', world.act, world.undo);
    await tx.step('hotel', world.act, world.undo);
    await tx.step('car', world.refuse, world.undo);
  }),
  oneDeath(
    rolledBack('a step that nothing takes back', async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      await tx.step('letter', world.act);
      await tx.step('car', world.refuse);
    }),
  ),
  oneDeath(
    done('steps in a loop', async (tx, world) => {
      for (const guest of ['ann', 'bob', 'eve']) await tx.step(`seat-${guest}`, world.act, world.undo);
    }),
  ),
  oneDeath(
    done('what was read decides what is asked for', async (tx, world) => {
      const rate = await tx.step('rate', () => Math.random(), { effect: 'none' });
      await tx.step('pay', (step) => world.act(step, { request: { rate } }), world.undo);
    }),
  ),
  {
    name: 'a list of steps',
    allow: ['done'],
    scenario:
      ({ transactions, world }) =>
      (id, _, options) =>
        transactions.execute(
          id,
          [
            { name: 'flight', run: (step) => world.act(step), compensate: world.undo },
            { name: 'hotel', run: (flight, step) => world.act(step, { request: { flight } }), compensate: world.undo },
          ],
          options,
        ),
  },
];

const overlapping: readonly NamedScenario[] = [
  done('siblings', async (tx, world) => {
    await tx.step('flight', world.act, world.undo);
    await Promise.all([
      tx.step('hotel', acting(world, { takesMs: 8 }), world.undo),
      tx.step('car', world.act, world.undo),
    ]);
  }),
  rolledBack('a sibling fails, and a slow one succeeds late', async (tx, world) => {
    await Promise.all([
      tx.step('hotel', acting(world, { takesMs: 20 }), world.undo),
      tx.step('flight', world.act, world.undo),
      tx.step('car', refusing(world, 3), world.undo),
    ]);
  }),
  oneDeath(
    rolledBack('a sibling fails, and a slow one is called off', async (tx, world) => {
      await Promise.all([
        tx.step('hotel', acting(world, { takesMs: 20, hearsAbort: true }), world.undo),
        tx.step('car', refusing(world, 3), world.undo),
      ]);
    }),
  ),
  oneDeath(
    rolledBack('a sibling fails while another has a next step', async (tx, world, { clock }) => {
      const long = async () => {
        await tx.step('hotel', acting(world, { takesMs: 10 }), world.undo);
        await clock.sleep(20);
        await tx.step('dinner', world.act, world.undo);
      };
      await Promise.all([long(), tx.step('car', refusing(world, 3))]);
    }),
  ),
  rolledBack('a sibling fails sooner than in the life before', async (tx, world, { clock }) => {
    const long = async () => {
      await tx.step('hotel', world.act, world.undo);
      await clock.sleep(20);
      await tx.step('dinner', world.act, world.undo);
    };
    const failing: StepRun<never> = (step) => world.refuse(step, { takesMs: step.fence === 1 ? 40 : 3 });
    await Promise.all([long(), tx.step('car', failing)]);
  }),
];

const nested: readonly NamedScenario[] = [
  done('a nest fails, and the body goes on', async (tx, world) => {
    await tx.step('flight', world.act, world.undo);
    await tx
      .nest('extras', async (nest) => {
        await nest.step('seat', world.act, world.undo);
        await nest.step('meal', world.refuse);
      })
      .catch(() => {});
    await tx.step('hotel', world.act, world.undo);
  }),
  oneDeath(
    rolledBack('a nest fails, and with it everything', async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      await tx.nest('stay', (nest) => nest.step('hotel', world.act, world.undo));
      await tx.nest('extras', async (nest) => {
        await nest.step('seat', world.act, world.undo);
        await nest.step('meal', world.refuse);
      });
    }),
  ),
  oneDeath(
    done('a nest fails beside a step that goes on', async (tx, world) => {
      const extras = tx.nest('extras', async (nest) => {
        await nest.step('seat', world.act, world.undo);
        await nest.step('meal', world.refuse);
      });
      await Promise.all([extras.catch(() => {}), tx.step('hotel', acting(world, { takesMs: 15 }))]);
    }),
  ),
  oneDeath(
    rolledBack('a nest in a nest, and a failure after both', async (tx, world) => {
      await tx.nest('stay', async (stay) => {
        await stay.step('hotel', world.act, world.undo);
        await stay.nest('room', (room) => room.step('deposit', world.act, world.undo));
      });
      await tx.step('car', world.refuse);
    }),
  ),
  oneDeath(
    rolledBack('a nest fails that would not in the next life', async (tx, world) => {
      await tx.nest('extras', async (nest) => {
        await nest.step('seat', world.act, world.undo);
        if (nest.fence === 1) throw new Error('no meals today');
        await nest.step('meal', world.act, world.undo);
      });
      await tx.step('car', world.refuse);
    }),
  ),
];

const promised: readonly NamedScenario[] = [
  {
    name: 'a step that may run once',
    allow: ['done', 'stuck'],
    scenario: trip(async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      await tx.step('pay', acting(world, { once: true }), { effect: 'once', compensate: world.undo });
    }),
  },
  done('a step that may run once, and can be verified', async (tx, world) => {
    await tx.step('flight', world.act, world.undo);
    const pay = { effect: 'once', compensate: world.undo, verify: world.find } as const;
    await tx.step('pay', acting(world, { once: true }), pay);
  }),
  oneDeath(
    rolledBack('verified steps, and then a failure', async (tx, world) => {
      const kept = { compensate: world.undo, verify: world.find };
      await tx.step('flight', acting(world, { once: true }), kept);
      await tx.step('hotel', acting(world, { once: true }), kept);
      await tx.step('car', world.refuse, kept);
    }),
  ),
  oneDeath(
    done('a pivot', async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      await tx.step('pay', world.act, { pivot: true });
      await tx.step('mail', world.act);
    }),
  ),
  oneDeath(
    rolledBack('a failure before the pivot', async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      await tx.step('car', world.refuse);
      await tx.step('pay', world.act, { pivot: true });
    }),
  ),
  {
    name: 'a failure after the pivot',
    allow: ['stuck'],
    deaths: 1,
    scenario: trip(async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      await tx.step('pay', world.act, { pivot: true });
      await tx.step('mail', world.refuse);
    }),
  },
  {
    name: 'a crash means back',
    allow: ['done', 'rolled-back'],
    scenario: trip(
      async (tx, world) => {
        const kept = { compensate: world.undo, verify: world.find };
        await tx.step('flight', world.act, world.undo);
        await tx.step('hotel', acting(world, { once: true }), kept);
      },
      { onCrash: 'rollback' },
    ),
  },
  {
    name: 'a compensation that always fails',
    allow: ['stuck'],
    deaths: 1,
    scenario: trip(async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      const compensate = (_: string, context: CompensationContext) => world.refuse(context);
      await tx.step('hotel', world.act, { compensate, compensateRetry: 0 });
      await tx.step('car', world.refuse);
    }),
  },
];

/** It happens, and whoever asked for it hears nothing. */
const unheard =
  (act: StepRun<string>): StepRun<string> =>
  async (step) => {
    await act(step);
    return never;
  };

const timed: readonly NamedScenario[] = [
  oneDeath(
    done('an answer that is lost, and a retry', async (tx, world) => {
      const run: StepRun<string> = (step) => (step.attempt === 1 ? unheard(world.act)(step) : world.act(step));
      const retry = { maxRetries: 2, backoff: { kind: 'constant', baseMs: 5 } } as const;
      await tx.step('hotel', run, { compensate: world.undo, timeoutMs: 20, retry });
      await tx.step('car', world.act, world.undo);
    }),
  ),
  done('answers that are all lost, and a verify', async (tx, world) => {
    await tx.step('hotel', unheard(acting(world, { once: true })), {
      compensate: world.undo,
      verify: world.find,
      timeoutMs: 20,
    });
  }),
  oneDeath(
    rolledBack('a compensation that needs a second attempt', async (tx, world) => {
      const compensate: CrashWorld['undo'] = async (receipt, context) => {
        if (context.attempt === 1) throw new Error('the line is busy');
        await world.undo(receipt, context);
      };
      const compensateRetry = { maxRetries: 2, backoff: { kind: 'constant', baseMs: 5 } } as const;
      await tx.step('flight', world.act, { compensate, compensateRetry });
      await tx.step('hotel', world.act, { compensate, compensateRetry });
      await tx.step('car', world.refuse);
    }),
  ),
  oneDeath(
    rolledBack('a step that is cut off and fails all', async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      const run: StepRun<string> = async (step) => {
        await world.act(step, { once: true });
        throw new TimeoutError(1);
      };
      const cutOff = tx.step('hotel', run, { compensate: world.undo, verify: world.find });
      await Promise.all([cutOff, tx.step('car', world.refuse)]);
    }),
  ),
];

/** Cancelled 8 ms after it was called, by the manager that `by` gives. */
function cancelled(name: string, by: (process: CrashProcess) => TransactionManager): NamedScenario {
  const scenario: CrashScenario<undefined> = (process) => {
    const run = trip(async (tx, world) => {
      await tx.step('flight', world.act, world.undo);
      await tx.step('hotel', acting(world, { takesMs: 5 }), world.undo);
      await tx.step('car', world.act, world.undo);
    })(process);
    return (id, ...rest) => {
      const running = run(id, ...rest);
      // It may have ended, or not have begun: then there is nothing to cancel.
      const cancelling = process.clock.sleep(8).then(() => by(process).cancel(id, 'plans have changed'));
      cancelling.catch(() => {});
      return running;
    };
  };
  return { name, scenario, allow: ['rolled-back', 'done'] };
}

export const scenarios: readonly NamedScenario[] = [
  ...straight,
  ...overlapping,
  ...nested,
  ...promised,
  ...timed,
  oneDeath(cancelled('cancelled by its own manager', ({ transactions }) => transactions)),
  cancelled('cancelled by another manager', ({ storage, clock }) => new TransactionManager({ storage, clock })),
];
