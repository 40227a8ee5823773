// @ts-check
/** One line that is written over on a terminal; elsewhere a line now and then. */
export class Progress {
  #name = '';
  #steps = 0;
  #isTerminal = process.stdout.isTTY === true;

  /**
   * A run begins.
   * @param {string} name
   * @param {number} steps
   */
  begin(name, steps) {
    this.#name = name;
    this.#steps = steps;
  }

  /** @param {number} step */
  step(step) {
    const line = `${this.#name}: step ${step} of ${this.#steps}`;
    if (this.#isTerminal) process.stdout.write(`\r\x1b[K${line}`);
    else if (step % 50 === 0) console.log(line);
  }

  /**
   * A line that stays.
   * @param {string} line
   */
  say(line) {
    console.log(`${this.#isTerminal ? '\r\x1b[K' : ''}${this.#name}: ${line}`);
  }

  end() {
    if (this.#isTerminal) process.stdout.write('\r\x1b[K');
  }
}

/**
 * @typedef {object} Outcome
 * @property {import('./tally.mjs').Tally} tally
 * @property {number} kills Kills that were planned.
 * @property {number} steps
 * @property {number} diskBytes
 * @property {number} damaged Sequence of the checkpoint whose bytes were flipped.
 * @property {import('./proof.mjs').Proof} proof
 * @property {{ package: string, found: string, verdict: string }[]} findings
 */

/** @param {Outcome} outcome */
export function printTable({ tally, kills, steps, diskBytes, damaged, proof, findings }) {
  const repeated = tally.stepsStarted - steps;
  const failures = [...tally.serviceFailures].sort(byCount).map(([reason, count]) => `${count} × ${reason}`);
  const broughtBackBy = tally.damagedFound.get(damaged);
  const rows = {
    'kills survived': `${tally.kills} of ${kills}`,
    'steps run / needed': `${tally.stepsStarted} / ${steps} (${repeated} repeated)`,
    'checkpoints saved': `${tally.checkpointsSaved} (${megabytes(tally.writtenBytes)} written)`,
    'bytes on disk': `${megabytes(diskBytes)} at the end`,
    'time lost per crash': `${median(tally.restartsMs).toFixed(0)} ms (median, restart to first new step)`,
    'damage found': `${tally.damagedFound.size} of 1 (checkpoint ${damaged}; ${broughtBackBy ?? 'nothing'} brought it back)`,
    'retries of the service': `${total(tally.serviceFailures)} (${failures.join(', ')})`,
    'result equal': proof.isEqual
      ? `yes (${proof.sizeBytes} bytes, SHA-256 ${proof.checksum.slice(0, 16)}…)`
      : `NO: ${proof.difference}`,
    licences: mostFrequent(findings.map(({ found }) => found)),
    verdicts: mostFrequent(findings.map(({ verdict }) => verdict)),
  };
  console.log();
  for (const [name, value] of Object.entries(rows)) console.log(`${name.padEnd(24)}${value}`);
}

/** @param {number} bytes */
function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** @param {number[]} values */
function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

/** @param {Map<string, number>} counts */
function total(counts) {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

/** @param {string[]} names */
function mostFrequent(names) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  const top = [...counts].sort(byCount).slice(0, 5);
  return top.map(([name, count]) => `${name} ${count}`).join(', ');
}

/**
 * @param {[string, number]} a
 * @param {[string, number]} b
 */
function byCount([, a], [, b]) {
  return b - a;
}
