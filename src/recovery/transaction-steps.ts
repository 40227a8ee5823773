import { sha256Hex } from '../base/digest.js';
import { MAX_ID_BYTES } from '../records/keys.js';
import type { SessionStep, SessionSteps } from '../sessions/session-steps.js';
import { RolledBackError } from '../transactions/transaction-errors.js';
import type { TransactionManager } from '../transactions/transaction-manager.js';

/** Steps of sessions, each a transaction of one step: what it gave outlives the process, the session, and a takeover. */
export function transactionSteps(transactions: TransactionManager): SessionSteps {
  return {
    async run<Result>({ session, name, work, options, signal }: SessionStep<Result>): Promise<Result> {
      for (let life = 1; ; life++) {
        let isOurs = false;
        try {
          return await transactions.run(stepId(session, name, life), (tx) => {
            isOurs = true;
            return tx.step(
              name,
              (step) => {
                const { key, attempt } = step;
                return work({ key, attempt, signal: AbortSignal.any([signal, step.signal]) });
              },
              options as object,
            );
          });
        } catch (error) {
          if (!(error instanceof RolledBackError)) throw error;
          if (isOurs) throw error.cause;
          // It failed in an earlier life of the session: this one may try again.
        }
      }
    },
  };
}

/** Readable, and another for each session, name and life. */
function stepId(session: string, name: string, life: number): string {
  const id = JSON.stringify([session, name, life]);
  return Buffer.byteLength(id) <= MAX_ID_BYTES ? id : sha256Hex(id);
}
