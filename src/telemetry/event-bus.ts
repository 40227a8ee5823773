import { EventEmitter } from 'eventemitter3';
import { emit, type Sink } from '../base/emit.js';

/** Of a union of events: those of one type. */
export type EventOf<Event extends { readonly type: string }, Type extends Event['type']> = Extract<
  Event,
  { readonly type: Type }
>;

/** Name under which those listen who want all. No event is called like it. */
const ANY = '*';

/**
 * Hands events to whoever listens, by type or all of them. A listener that throws is reported as a process warning
 * (`HOLDFAST_LISTENER_ERROR`); it stops neither the others nor what the event tells of. Its `sink` fits wherever a part
 * takes `emit`.
 */
export class EventBus<Event extends { readonly type: string }> {
  readonly #emitter = new EventEmitter<string>();

  /** Where events come in. */
  readonly sink: Sink<Event> = (event) => {
    this.#emitter.emit(event.type, event);
    this.#emitter.emit(ANY, event);
  };

  /** Calls `listener` with every event of this type from now on. Returns how to stop. */
  on<Type extends Event['type']>(type: Type, listener: (event: EventOf<Event, Type>) => void): () => void {
    return this.#listen(type, listener as Sink<Event>);
  }

  /** Calls `listener` with every event from now on. Returns how to stop. */
  onAny(listener: (event: Event) => void): () => void {
    return this.#listen(ANY, listener);
  }

  /** Nobody listens any more. */
  clear(): void {
    this.#emitter.removeAllListeners();
  }

  #listen(name: string, listener: Sink<Event>): () => void {
    // Bare, a listener that throws would keep the others from hearing, and throw into whoever reports.
    const shielded = (event: Event) => emit(listener, event);
    this.#emitter.on(name, shielded);
    return () => void this.#emitter.off(name, shielded);
  }
}
