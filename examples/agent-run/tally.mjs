// @ts-check
/** What happened during a run, counted from the events of its orchestrators. */
export class Tally {
  kills = 0;
  stepsStarted = 0;
  checkpointsSaved = 0;
  writtenBytes = 0;
  /** Failed calls of the service by reason. @type {Map<string, number>} */
  serviceFailures = new Map();
  /** Sequences of checkpoints that could not be used, with what brought the session back. @type {Map<number, string>} */
  damagedFound = new Map();
  /** From each restart to the first step that was not done before, in milliseconds. @type {number[]} */
  restartsMs = [];

  /** @type {import('./report.mjs').Progress} */
  #progress;
  #lastStep = 0;
  #savedStep = 0;
  /** @type {number | undefined} */
  #restartedAtMs;

  /** @param {import('./report.mjs').Progress} progress */
  constructor(progress) {
    this.#progress = progress;
  }

  orchestratorStarted() {
    if (this.kills > 0) this.#restartedAtMs = performance.now();
  }

  killed() {
    this.kills++;
    this.#progress.say(`SIGKILL in step ${this.#lastStep}`);
  }

  /** @param {any} event Of the orchestrator, or of its checkpoint manager. */
  record(event) {
    if (event.type === 'step.started') this.#stepStarted(event.step);
    if (event.type === 'checkpoint.saved') this.#saved(event.storedBytes);
    if (event.type === 'agent.resumed') this.#resumed(event);
    if (event.type === 'service.failed') {
      this.serviceFailures.set(event.reason, (this.serviceFailures.get(event.reason) ?? 0) + 1);
    }
  }

  /** @param {number} step */
  #stepStarted(step) {
    this.stepsStarted++;
    this.#lastStep = step;
    this.#progress.step(step);
    if (this.#restartedAtMs === undefined || step <= this.#savedStep) return;
    this.restartsMs.push(performance.now() - this.#restartedAtMs);
    this.#restartedAtMs = undefined;
  }

  /** @param {number} storedBytes */
  #saved(storedBytes) {
    this.checkpointsSaved++;
    this.writtenBytes += storedBytes;
    this.#savedStep = Math.max(this.#savedStep, this.#lastStep);
  }

  /** @param {{ rung: string, sequence: number, lost: number[] }} event */
  #resumed({ rung, sequence, lost }) {
    for (const one of lost) this.damagedFound.set(one, rung);
    const warning = lost.length > 0 ? ` (checkpoint ${lost.join(', ')} is damaged)` : '';
    this.#progress.say(`${rung}: goes on from checkpoint ${sequence}${warning}`);
  }
}
