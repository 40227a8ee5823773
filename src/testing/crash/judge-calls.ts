import type { Moment, WorldCall, WorldLedger } from './crash-world.js';

/** What is wrong with what was done to the world, each in a sentence, whatever the run came to. */
export function wrongCalls({ calls, events: done }: Pick<WorldLedger, 'calls' | 'events'>): string[] {
  const acts = done.filter(({ kind }) => kind === 'act');
  const undos = done.filter(({ kind }) => kind === 'undo');
  return [
    ...doneTwice(acts, done),
    ...otherRequests(acts),
    ...wrongKeys(acts, undos),
    ...undoneWrongly(undos, acts),
    ...undoneAgain(undos),
    ...undoneOutOfOrder(undos, done),
    ...doneAfterwards(calls),
    ...stillRunning(calls),
    ...oldFences(done),
  ];
}

/** Was `one` before `other`? What never was is not before anything. */
function isBefore(one: Moment | undefined, other: Moment | undefined): boolean {
  return one !== undefined && other !== undefined && one.order < other.order;
}

function doneTwice(acts: readonly WorldCall[], done: readonly WorldCall[]): string[] {
  const again = acts.filter(
    (act) => act.once && acts.some((other) => other.key === act.key && isBefore(other.done, act.done)),
  );
  const inVain = acts.filter((act) =>
    done.some(
      ({ kind, key, receipt, ended }) =>
        kind === 'find' && key === act.key && receipt !== undefined && isBefore(ended, act.begun),
    ),
  );
  return [
    ...again.map(({ step }) => `${step} was done twice, and may be done once`),
    ...inVain.map(({ step }) => `${step} was done again after its verify had found it`),
  ];
}

function otherRequests(acts: readonly WorldCall[]): string[] {
  return acts.flatMap((act) => {
    const first = acts.find(({ key }) => key === act.key);
    if (first === undefined || first.request === act.request) return [];
    return [`${act.step} was asked for ${first.request}, and with the same key for ${act.request}`];
  });
}

function wrongKeys(acts: readonly WorldCall[], undos: readonly WorldCall[]): string[] {
  const changed = (calls: readonly WorldCall[]) =>
    calls.filter(({ step, key }) => calls.find((other) => other.step === step)?.key !== key);
  return [
    ...changed(acts).map(({ step }) => `${step} was done with another key`),
    ...changed(undos).map(({ step }) => `the compensation of ${step} was run with another key`),
    ...undos
      .filter(({ key }) => acts.some((act) => act.key === key))
      .map(({ step }) => `the compensation of ${step} was run with a key of a step`),
  ];
}

function undoneWrongly(undos: readonly WorldCall[], acts: readonly WorldCall[]): string[] {
  return undos.flatMap(({ step, receipt, begun }) => {
    const act = acts.find((other) => other.receipt === receipt);
    if (act === undefined || !isBefore(act.done, begun)) return [`${step} was compensated without having happened`];
    return act.step === step ? [] : [`${step} was compensated with what ${act.step} gave`];
  });
}

/** A compensation that is recorded never runs again, and it is recorded before the next one begins. */
function undoneAgain(undos: readonly WorldCall[]): string[] {
  return undos.flatMap((again) => {
    const before = undos.filter(({ key, ended }) => key === again.key && isBefore(ended, again.begun));
    const isNeedless = before.some((earlier) =>
      earlier.process === again.process
        ? again.attempt === 1
        : undos.some((next) => nestOf(next) === nestOf(again) && next.key !== again.key && follows(next, earlier)),
    );
    return isNeedless ? [`${again.step} was compensated again after that was recorded`] : [];
  });
}

function follows(next: WorldCall, earlier: WorldCall): boolean {
  return next.process === earlier.process && isBefore(earlier.ended, next.begun);
}

/** Of two effects in one nest, or around it, the one that was there first goes last. */
function undoneOutOfOrder(undos: readonly WorldCall[], done: readonly WorldCall[]): string[] {
  const firsts = undos.filter((undo) => undos.find(({ key }) => key === undo.key) === undo);
  return firsts.flatMap((undo) =>
    firsts
      .filter((later) => isBefore(undo.begun, later.begun) && isWithin(later, nestOf(undo)))
      .filter((later) => {
        const [first, second] = [completedAt(undo, undo, done), completedAt(later, undo, done)];
        return first !== undefined && second !== undefined && first.atMs < second.atMs;
      })
      .map((later) => `${undo.step} was compensated before ${later.step}, which was done after it`),
  );
}

/** When the effect that `undo` takes back was last known to be there, before `before` began. */
function completedAt(undo: WorldCall, before: WorldCall, done: readonly WorldCall[]): Moment | undefined {
  const answers = done.filter(
    ({ kind, receipt, ended }) =>
      (kind === 'act' || kind === 'find') && receipt === undo.receipt && isBefore(ended, before.begun),
  );
  return answers.at(-1)?.ended;
}

/** Once a nest, or all, is being rolled back, nothing is done in it any more. */
function doneAfterwards(calls: readonly WorldCall[]): string[] {
  const undos = calls.filter(({ kind }) => kind === 'undo');
  return calls.flatMap((act) => {
    if (act.kind !== 'act') return [];
    const undo = undos.find((other) => isBefore(other.begun, act.begun) && isWithin(act, nestOf(other)));
    const late = undos.find((other) => other.receipt === act.receipt && isBefore(other.done, act.done));
    if (late !== undefined) return [`${act.step} was done after its compensation`];
    return undo === undefined ? [] : [`${act.step} was done after the compensation of ${undo.step} had begun`];
  });
}

function stillRunning(calls: readonly WorldCall[]): string[] {
  const undos = calls.filter(({ kind }) => kind === 'undo');
  return undos.flatMap((undo) =>
    calls
      .filter(({ kind, process }) => kind === 'act' && process === undo.process)
      .filter((act) => isBefore(act.begun, undo.begun) && !isBefore(act.ended, undo.begun))
      .filter((act) => isWithin(act, nestOf(undo)))
      .map((act) => `${act.step} was still running when the compensation of ${undo.step} began`),
  );
}

/** Every takeover has a fence of its own, higher than all before. */
function oldFences(done: readonly WorldCall[]): string[] {
  return done.flatMap((call) => {
    const other = done.find(({ process, fence }) => process < call.process && fence >= call.fence);
    if (other === undefined) return [];
    return [
      `${call.step} ran with fence ${call.fence} in process ${call.process}, and ${other.fence} in process ${other.process}`,
    ];
  });
}

/** The names of the nests around a step, with a slash behind each. */
function nestOf({ step }: WorldCall): string {
  return step.slice(0, step.lastIndexOf('/') + 1);
}

function isWithin({ step }: WorldCall, nest: string): boolean {
  return step.startsWith(nest);
}
