import type { Clock } from '../base/clock.js';
import { emit, type Sink } from '../base/emit.js';
import { CorruptionError } from '../base/errors.js';
import type { HeldOnNode, Hold } from '../records/held-on-node.js';
import { BusyError } from '../records/lease.js';
import type { LeaseNode, Tenure } from '../records/node.js';
import { nodeKey } from '../records/node-record.js';
import { ConflictError, OutcomeUnknownError, StorageError, type Version } from '../storage/adapter.js';
import { answerWithin } from '../storage/answer-within.js';
import { classify, GIVEN_BACK, type Judgement, nodeUnreadable, type ProbeAnswer } from './classify.js';
import { infoOf, NodeSightings, type Seen } from './node-sightings.js';
import { QuarantinedError, SessionEndedError, UnknownSessionError } from './session-errors.js';
import type { SessionEvent } from './session-event.js';
import type { SessionInfo, SessionPriority, Takeover } from './session-info.js';
import { hasEnded, type SessionRecord, type StoredSession } from './session-record.js';
import type { SessionSeats } from './session-seats.js';
import type { SessionStore } from './session-store.js';

/** Between two looks at a session that somebody holds, as a share of the lease: 30 looks see its end soon enough. */
const POLL_SHARE = 1 / 30;
const MIN_POLL_MS = 50;
/** A process that died on the same host is to be noticed within a second, however long the lease. */
const MAX_POLL_MS = 500;
const PROBE_TIMEOUT_MS = 2_000;
/** Takeovers remembered in the record. */
const MAX_TAKEOVERS = 20;

/** What claims are made with. */
export interface ClaimParts {
  readonly store: SessionStore;
  readonly node: LeaseNode;
  readonly held: HeldOnNode;
  readonly seats: SessionSeats;
  readonly clock: Clock;
  readonly emit: Sink<SessionEvent> | undefined;
  readonly takeovers: { readonly max: number; readonly withinMs: number };
  readonly probe: ((session: SessionInfo, signal: AbortSignal) => ProbeAnswer | Promise<ProbeAnswer>) | undefined;
}

/** Who wants a session, and on what terms. */
export interface Claim {
  readonly id: string;
  readonly hold: Hold;
  readonly waitMs: number;
  readonly signal: AbortSignal | undefined;
  /** What to begin it with if there is none; without it, that is an error. */
  readonly create?: { readonly priority: SessionPriority; readonly metadata: Readonly<Record<string, unknown>> };
  readonly reopen?: boolean;
  /** Also from a process that lives, if the session is interrupted. */
  readonly force?: boolean;
}

/** A session that became ours. */
export interface Claimed {
  readonly stored: StoredSession;
  readonly tenure: Tenure;
  /** From whom, if it was taken over. */
  readonly takeover: Takeover | undefined;
}

/** Makes sessions ours: begins them, or takes them from whoever is gone. One of several claimants gets each. */
export class SessionClaims {
  readonly #parts: ClaimParts;

  constructor(parts: ClaimParts) {
    this.#parts = parts;
  }

  /**
   * @throws BusyError if somebody holds it, who lives or may; UnknownSessionError, SessionEndedError, QuarantinedError;
   * LimitError if there are `maxSessions` already. Nothing was done.
   */
  async claim(claim: Claim): Promise<Claimed> {
    const { clock } = this.#parts;
    const deadlineMs = clock.monotonicMs() + claim.waitMs;
    for (;;) {
      claim.signal?.throwIfAborted();
      const answer = await this.#tryOnce(claim);
      if (typeof answer !== 'string') return answer;
      if (answer === OUTRUN) continue; // Its record is another now: look again.
      const leftMs = deadlineMs - clock.monotonicMs();
      if (leftMs <= 0) throw new BusyError(`session "${claim.id}"`, answer);
      const pollMs = Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, this.#parts.node.leaseMs * POLL_SHARE));
      await clock.sleep(Math.min(pollMs, leftMs), claim.signal ? { signal: claim.signal } : {});
    }
  }

  /** What can be told of a session that has not ended. */
  async judge(stored: StoredSession, sightings = this.sightings()): Promise<Judgement> {
    const seen = await sightings.of(stored);
    if (seen === undefined) return GIVEN_BACK;
    if (seen instanceof CorruptionError) return nodeUnreadable(seen);
    return classify(stored, seen, () => this.#probe(stored, seen));
  }

  /** For one walk through the sessions. */
  sightings(): NodeSightings {
    return new NodeSightings(this.#parts.node, this.#parts.held);
  }

  /**
   * Gives a session back that this process let go of although its record says that it is this node's, if it still does and
   * nobody here goes on with it.
   */
  async giveBack(id: string): Promise<void> {
    const { store, node, held, clock } = this.#parts;
    const stored = await store.read(id);
    const owner = stored?.record.owner ?? null;
    if (stored === undefined || owner === null || !node.isOwn(owner) || held.isTaken(id)) return;
    await store.write(
      { ...stored.record, status: 'interrupted', owner: null, updatedAtMs: clock.now() },
      stored.version,
    );
    this.#report({ type: 'session.released', session: id });
  }

  /** The session, or the node that holds it, or that somebody was faster. */
  async #tryOnce(claim: Claim): Promise<Claimed | string> {
    const { store, node } = this.#parts;
    const tenure = await node.tenure();
    const stored = await store.read(claim.id);
    try {
      if (stored === undefined) return await this.#begin(claim, tenure);
      const { status, quarantined, owner } = stored.record;
      const isEnded = hasEnded(stored.record);
      if (isEnded && !claim.reopen) throw new SessionEndedError(claim.id, status as 'completed' | 'failed');
      if (quarantined) throw new QuarantinedError(claim.id, quarantined.reason);
      if (isEnded) return await this.#reopen(claim, stored, tenure);
      const judgement = await this.judge(stored);
      if (judgement.is === 'held') return judgement.holder;
      if (!judgement.isFree && !claim.force) return heldAfterAll(claim.id, owner as string, judgement);
      return await this.#takeOver(claim, stored, { tenure, judgement });
    } catch (error) {
      if (error instanceof ConflictError) return OUTRUN;
      throw error;
    }
  }

  async #begin({ id, hold, create }: Claim, tenure: Tenure): Promise<Claimed | string> {
    const { clock, held } = this.#parts;
    if (create === undefined) throw new UnknownSessionError(id);
    if (!held.take(id, hold)) return tenure.id;
    const nowMs = clock.now();
    const record: SessionRecord = {
      id,
      status: 'initializing',
      owner: tenure.id,
      fence: 1,
      ...create,
      startedAtMs: nowMs,
      updatedAtMs: nowMs,
      takeovers: [],
    };
    return this.#seat(record, null, tenure);
  }

  async #reopen({ id, hold }: Claim, stored: StoredSession, tenure: Tenure): Promise<Claimed | string> {
    const { endedAtMs: _, error: __, archivedAtMs: ___, ...rest } = stored.record;
    if (!this.#parts.held.take(id, hold)) return tenure.id;
    return this.#seat(this.#next({ ...rest, status: 'initializing' }, tenure), stored.version, tenure);
  }

  /** One that was not among those that have not ended: there has to be a seat for it. */
  async #seat(record: SessionRecord, ifVersion: Version | null, tenure: Tenure): Promise<Claimed> {
    const { store, seats } = this.#parts;
    const { id, fence } = record;
    try {
      await seats.take(id, tenure.id);
      const stored = await store.write(record, ifVersion);
      this.#report({ type: 'session.opened', session: id, fence });
      return { stored, tenure, takeover: record.unrecovered };
    } catch (error) {
      // Somebody was faster and sits there, or it may have begun after all. Else a seat that stays is found out later.
      const mayHaveBegun = error instanceof ConflictError || error instanceof OutcomeUnknownError;
      if (!mayHaveBegun) await seats.leave(id).catch(() => undefined);
      throw error;
    }
  }

  async #takeOver(
    { id, hold }: Claim,
    { record, version }: StoredSession,
    { tenure, judgement }: { readonly tenure: Tenure; readonly judgement: Judgement & { is: 'interrupted' } },
  ): Promise<Claimed | string> {
    const { store, clock, held } = this.#parts;
    const { owner, takeovers } = record;
    if (!held.take(id, hold)) return tenure.id;
    if (owner === null || owner === tenure.id) {
      const { unrecovered } = record;
      const status = unrecovered === undefined ? 'initializing' : 'recovering';
      const stored = await store.write(this.#next({ ...record, status }, tenure), version);
      this.#report({ type: 'session.opened', session: id, fence: stored.record.fence });
      return { stored, tenure, takeover: unrecovered };
    }
    if (this.#isPoison(record)) return this.#quarantine({ record, version });
    const { failure, evidence } = judgement;
    const takeover: Takeover = { atMs: clock.now(), from: owner, by: tenure.id, failure, evidence };
    const kept = [...takeovers, takeover].slice(-MAX_TAKEOVERS);
    const taken: SessionRecord = { ...record, status: 'recovering', takeovers: kept, unrecovered: takeover };
    const stored = await store.write(this.#next(taken, tenure), version);
    this.#report({ type: 'session.taken-over', session: id, fence: stored.record.fence, from: owner, failure });
    return { stored, tenure, takeover };
  }

  #next(record: SessionRecord, tenure: Tenure): SessionRecord {
    return { ...record, owner: tenure.id, fence: record.fence + 1, updatedAtMs: this.#parts.clock.now() };
  }

  /** Wall time set forward forgives early; set back, it blocks no longer than until `release`. */
  #isPoison({ takeovers }: SessionRecord): boolean {
    const { clock, takeovers: allowed } = this.#parts;
    const nowMs = clock.now();
    const lately = takeovers.filter(({ atMs }) => Math.abs(nowMs - atMs) <= allowed.withinMs);
    return lately.length >= allowed.max;
  }

  async #quarantine({ record, version }: Pick<StoredSession, 'record' | 'version'>): Promise<never> {
    const { store, clock, takeovers } = this.#parts;
    const { id } = record;
    const reason = `it was taken over ${takeovers.max} times within ${takeovers.withinMs} ms`;
    const atMs = clock.now();
    const quarantined = { atMs, reason };
    await store.write({ ...record, status: 'interrupted', owner: null, quarantined, updatedAtMs: atMs }, version);
    this.#report({ type: 'session.quarantined', session: id, reason });
    throw new QuarantinedError(id, reason);
  }

  async #probe(stored: StoredSession, seen: Seen): Promise<ProbeAnswer> {
    const { probe, clock } = this.#parts;
    if (probe === undefined) return 'unknown';
    const over = new AbortController();
    const late = () => new StorageError(`The probe gave no answer within ${PROBE_TIMEOUT_MS} ms.`);
    try {
      const asked = Promise.resolve(probe(infoOf(stored, seen), over.signal));
      const answer = await answerWithin({ clock, ms: PROBE_TIMEOUT_MS, late }, asked);
      return answer === 'alive' || answer === 'dead' ? answer : 'unknown';
    } catch {
      return 'unknown'; // A probe that fails says nothing, and the evidence says that it said nothing.
    } finally {
      over.abort();
    }
  }

  #report(event: SessionEvent): void {
    emit(this.#parts.emit, event);
  }
}

/** Who has a session that is not free although nobody brings it on. @throws CorruptionError where that cannot be told */
function heldAfterAll(id: string, owner: string, { failure, evidence }: Judgement & { is: 'interrupted' }): string {
  if (failure !== 'corrupted') return owner;
  const advice = `If its process is dead, recover("${id}", { force: true }) takes it over.`;
  throw new CorruptionError(`Whether session "${id}" is held cannot be told: ${evidence[0]} ${advice}`, nodeKey(owner));
}

/** Not the id of a node: those are UUIDs. */
const OUTRUN = 'outrun';
