import * as z from 'zod';
import { InvalidInputError } from '../base/errors.js';
import { parseOptions } from '../base/options.js';
import { type Diagnosis, isWithin } from './failure.js';
import { type Rung, rungSchema } from './rung.js';

/** A rung in the recorded plan of a recovery, with what has to be known of it when the ladder has changed meanwhile. */
export interface PlannedRung {
  readonly rung: string;
  /** Why it is passed over. Left out of one that is tried. */
  readonly why?: string;
  readonly effect?: 'once';
  readonly degraded?: true;
}

const ladderSchema = z.array(z.custom<Rung>((rung) => typeof rung === 'object' && rung !== null, 'must be a Rung'));

/** Rungs in the order in which they are tried, each with a name of its own. */
export class Ladder {
  readonly #rungs = new Map<string, Rung>();

  /** @throws InvalidInputError for a rung that cannot be used, two of one name, or none at all. */
  constructor(rungs: readonly Rung[]) {
    for (const [at, rung] of parseOptions(ladderSchema.min(1), rungs, 'options.ladder').entries()) {
      this.#add(rung, `options.ladder.${at}`);
    }
  }

  get names(): readonly string[] {
    return [...this.#rungs.keys()];
  }

  get(name: string): Rung | undefined {
    return this.#rungs.get(name);
  }

  /**
   * Which rungs are for a failure like this. Made once for each recovery, and recorded. A rung that was asked for by name is
   * alone in it, whatever the severity.
   * @throws InvalidInputError for a name that no rung has.
   */
  planFor({ severity }: Pick<Diagnosis, 'severity'>, strategy: string): PlannedRung[] {
    if (strategy !== 'auto') return [planned(this.#required(strategy))];
    return Array.from(this.#rungs.values(), (rung) => {
      const { from = 'minor', to = 'catastrophic' } = rung;
      const why = isWithin(severity, from, to) ? undefined : `it is for ${range(from, to)}, not ${severity}`;
      return planned(rung, why);
    });
  }

  #add(rung: Rung, path: string): void {
    const { name, from = 'minor', to = 'catastrophic' } = parseOptions(rungSchema, rung, path);
    if (name === 'auto' || this.#rungs.has(name)) {
      const why = name === 'auto' ? 'means the whole ladder' : 'is the name of an earlier rung';
      throw new InvalidInputError(`${path}.name: "${name}" ${why}. Give each rung a name of its own.`, `${path}.name`);
    }
    if (!isWithin(from, from, to)) {
      throw new InvalidInputError(`${path}.to: "${to}" is milder than \`from\`, "${from}". Swap them.`, `${path}.to`);
    }
    this.#rungs.set(name, rung); // Itself, not what was parsed: its functions may be methods.
  }

  #required(name: string): Rung {
    const rung = this.#rungs.get(name);
    if (rung !== undefined) return rung;
    const names = ['auto', ...this.names].map((known) => `"${known}"`).join(', ');
    const message = `options.strategy: there is no rung "${name}". There are ${names}.`;
    throw new InvalidInputError(message, 'options.strategy');
  }
}

function planned({ name, effect, degraded }: Rung, why?: string): PlannedRung {
  return {
    rung: name,
    ...(why !== undefined && { why }),
    ...(effect === 'once' && { effect }),
    ...(degraded && { degraded }),
  };
}

function range(from: string, to: string): string {
  return from === to ? from : `${from} to ${to}`;
}
