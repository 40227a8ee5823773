import type { CorruptionError } from '../base/errors.js';
import type { NodeNote, Sighting } from '../records/node.js';
import type { SessionFailure } from './session-info.js';
import type { StoredSession } from './session-record.js';

/** What the host can find out about the process of a session by a way of its own: a ping, a process list, a cluster API. */
export type ProbeAnswer = 'alive' | 'dead' | 'unknown';

/** What can be told of a session that has not ended. */
export type Judgement =
  /** Somebody holds it who lives, or may. */
  | { readonly is: 'held'; readonly holder: string }
  /** Nobody brings it on. `isFree`: it may be taken without force. */
  | {
      readonly is: 'interrupted';
      readonly failure: SessionFailure;
      readonly evidence: readonly string[];
      readonly isFree: boolean;
    };

/** Its process gave it back, or is this very one, in which nobody goes on with it. */
export const GIVEN_BACK: Judgement = {
  is: 'interrupted',
  failure: 'disconnected',
  evidence: ['its process gave it back in order'],
  isFree: true,
};

/** Whether its process lives cannot be told. Heartbeats put the record right, if there are any. */
export function nodeUnreadable(damage: CorruptionError): Judgement {
  return { is: 'interrupted', failure: 'corrupted', evidence: [damage.message], isFree: false };
}

/** What is said of a session by what was seen of its node, and by the host's probe, which is asked only if that matters. */
export async function classify(
  { record, key }: StoredSession,
  sighting: Sighting,
  probe: () => Promise<ProbeAnswer>,
): Promise<Judgement> {
  const holder = record.owner as string;
  const silence = `nothing was heard of its node ${holder} for ${seconds(sighting.silentMs)}`;
  switch (sighting.proof) {
    case 'process-ended':
      return crashed(`its process (${sighting.record?.process?.pid}) on this host has ended`);
    case 'frozen':
      return {
        is: 'interrupted',
        failure: 'frozen',
        evidence: [`its event loop did not answer its heart thread for ${seconds(sighting.record?.frozenMs ?? 0)}`],
        isFree: true,
      };
    case 'no-record':
      return classifyUnheard([`its node ${holder} has left, or was swept after it was found gone`], await probe());
    case 'silent':
      return classifyUnheard(
        [`${silence}, its lease is ${seconds(sighting.record?.leaseMs ?? 0)}`, CANNOT_TELL],
        await probe(),
      );
    case 'alive': {
      const note = sighting.record?.notes?.find((noted) => noted.key === key);
      const quietMs = note && note.quietMs + sighting.silentMs;
      if (note === undefined || quietMs === undefined || quietMs < note.mayBeQuietMs) return { is: 'held', holder };
      return { is: 'interrupted', failure: 'frozen', evidence: frozenEvidence(note, quietMs), isFree: false };
    }
  }
}

const CANNOT_TELL = 'whether it crashed or is cut off cannot be told from here';

/** Of what is not heard of any more the probe may know; a record that was swept takes nothing from what it says. */
function classifyUnheard([silence = '', ...doubts]: readonly string[], answer: ProbeAnswer): Judgement {
  if (answer === 'dead') return crashed(silence, 'the probe says that its process is dead');
  if (answer === 'unknown') return crashed(silence, ...doubts);
  // Its writes are fenced; what it does outside may go on. So it is not taken from it unasked.
  const evidence = [silence, 'the probe says that its process is alive'];
  return { is: 'interrupted', failure: 'disconnected', evidence, isFree: false };
}

function crashed(...evidence: string[]): Judgement {
  return { is: 'interrupted', failure: 'crashed', evidence, isFree: true };
}

function frozenEvidence({ mayBeQuietMs, progress }: NodeNote, quietMs: number): string[] {
  const reached = progress === undefined ? [] : [`its progress was ${Math.round(progress * 100)} %`];
  return [
    `it was quiet for ${seconds(quietMs)} and may be for ${seconds(mayBeQuietMs)}; its process is alive`,
    ...reached,
  ];
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
