import { describe, expect, test, vi } from 'vitest';
import { EventBus } from '../../src/telemetry/event-bus.js';

type Event = { readonly type: 'saved'; readonly sequence: number } | { readonly type: 'lost'; readonly error: string };

describe('an event bus', () => {
  test('hands events to those who listen for their type, and all to who wants all', () => {
    const bus = new EventBus<Event>();
    const saved: number[] = [];
    const all: string[] = [];
    bus.on('saved', ({ sequence }) => saved.push(sequence));
    bus.onAny(({ type }) => all.push(type));
    bus.sink({ type: 'saved', sequence: 1 });
    bus.sink({ type: 'lost', error: 'gone' });
    expect(saved).toEqual([1]);
    expect(all).toEqual(['saved', 'lost']);
  });

  test('stops when told to, one listener or all', () => {
    const bus = new EventBus<Event>();
    const heard: string[] = [];
    const stop = bus.on('saved', () => heard.push('one'));
    bus.on('saved', () => heard.push('other'));
    stop();
    stop();
    bus.sink({ type: 'saved', sequence: 1 });
    bus.clear();
    bus.sink({ type: 'saved', sequence: 2 });
    expect(heard).toEqual(['other']);
  });

  test('a listener that throws, or rejects, keeps nobody from hearing, and is reported', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const bus = new EventBus<Event>();
    const heard: number[] = [];
    bus.on('saved', () => {
      throw new Error('bad listener');
    });
    bus.on('saved', () => Promise.reject(new Error('bad promise')) as never);
    bus.on('saved', ({ sequence }) => heard.push(sequence));
    bus.sink({ type: 'saved', sequence: 1 });
    await new Promise((resolve) => setImmediate(resolve));
    expect(heard).toEqual([1]);
    expect(warn.mock.calls.map(([text]) => text)).toEqual([
      'An event listener threw: bad listener',
      'An event listener threw: bad promise',
    ]);
    warn.mockRestore();
  });
});
