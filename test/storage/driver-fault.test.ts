import { describe, expect, test } from 'vitest';
import { blotted, driverFault } from '../../src/storage/driver-fault.js';

describe('a text without secrets', () => {
  test.each([
    ['connect to postgres://me:hunter2@db:5432/app failed', 'connect to postgres://***@db:5432/app failed'],
    ['redis://:hunter2@cache and rediss://me@cache', 'redis://***@cache and rediss://***@cache'],
    ['host=db user=me password=hunter2 dbname=app', 'host=db user=me password=*** dbname=app'],
    ["password = 'hunter 2' host=db", 'password = *** host=db'],
    ['Password: "hunter 2", next', 'Password: ***, next'],
    ['postgres://me:p@ss/word@db:5432/app is down', 'postgres://***@db:5432/app is down'],
    ['{"password":"hunter2","host":"db"}', '{"password":***,"host":"db"}'],
    ['PGPASSWORD=hunter2 psql', 'PGPASSWORD=*** psql'],
    ['libsql://db?authToken=hunter2&tls=1', 'libsql://db?authToken=***&tls=1'],
    ['user_password=hunter2; requirepass hunter2', 'user_password=***; requirepass ***'],
    [
      "unknown command 'x', with args beginning with: 'hunter2' 'y'",
      "unknown command 'x', with args beginning with: ***",
    ],
    ['passwd=a pwd=b secret=c token=d auth=e', 'passwd=*** pwd=*** secret=*** token=*** auth=***'],
  ])('of %s', (text, shown) => {
    expect(blotted(text)).toBe(shown);
  });

  test.each([
    'password authentication failed for user "me"',
    'no user at me@db',
    'https://db:5432/app is not reachable',
    'tokens=3',
  ])('is the text itself where there is none: %s', (text) => {
    expect(blotted(text)).toBe(text);
  });
});

describe('the fault of a driver', () => {
  test('keeps name, message, code and where it came from', () => {
    const error = Object.assign(new TypeError('no such table: a'), { code: 'SQLITE_ERROR' });
    const fault = driverFault(error);
    expect(fault).toMatchObject({ name: 'TypeError', message: 'no such table: a', code: 'SQLITE_ERROR' });
    expect(fault.stack?.split('\n')).toEqual([
      'TypeError: no such table: a',
      ...(error.stack?.split('\n').filter((line) => line.startsWith('    at ')) ?? []),
    ]);
  });

  test('shows its secrets nowhere: not in message, stack, fields or cause', () => {
    const error = Object.assign(new Error('connect redis://me:hunter2@db', { cause: new Error('hunter2') }), {
      command: { name: 'AUTH', args: ['hunter2'] },
      client: { password: 'hunter2' },
    });
    error.stack = `${error.stack}\n    at hunter (file.js)`;
    const fault = driverFault(error);
    expect(Object.keys(fault).sort()).toEqual(['name']);
    expect(fault.cause).toBeUndefined();
    expect(fault.message).toBe('connect redis://***@db');
    expect(fault.stack).not.toContain('hunter2');
    expect(fault.stack).toContain('at hunter (file.js)');
  });

  test('of something that is no error is its text', () => {
    expect(driverFault('password=hunter2 refused')).toMatchObject({ name: 'Error', message: 'password=*** refused' });
    expect(driverFault(undefined).message).toBe('undefined');
  });

  test('of several addresses says what happened at each', () => {
    const error = new AggregateError([new Error('refused ::1'), new Error('refused 127.0.0.1')]);
    expect(driverFault(error).message).toBe('refused ::1; refused 127.0.0.1');
  });

  test('without a message says its code, else its name', () => {
    expect(driverFault(Object.assign(new Error(''), { code: 'ECONNREFUSED' })).message).toBe('ECONNREFUSED');
    expect(driverFault(Object.assign(new Error(''), { code: 7 })).message).toBe('7');
    expect(driverFault(new RangeError('')).message).toBe('RangeError');
  });

  test('has no code that is not a text', () => {
    expect(driverFault(Object.assign(new Error('x'), { code: 7 }))).not.toHaveProperty('code');
  });

  test('without a stack has its own', () => {
    const error = new Error('x');
    delete error.stack;
    expect(driverFault(error).stack).toContain('Error: x');
    const other = Object.assign(new Error('x'), { stack: 'no lines that say where' });
    expect(driverFault(other).stack).toContain('driver-fault');
  });
});
