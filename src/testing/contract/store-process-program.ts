/**
 * What a store process runs: plain JavaScript that imports nothing but the module of the store under test. It is handed
 * to `node -e` as text, so that it is the same from `src`, from `dist` and from inside a host's bundle.
 *
 * It answers `{ id, method, values }` with `{ id, value }` or `{ id, error }`, over IPC. An acknowledgement is sent only
 * after the store has given it: what has arrived here was acknowledged there. It ends with the process that started it.
 */
export const STORE_PROCESS_PROGRAM = `
let store;

const acts = {
  async open(module, argument) {
    const { default: makeStore } = await import(module);
    if (typeof makeStore !== 'function') throw new Error('It has no default export that makes a store.');
    store = await makeStore(argument);
    await store.open?.();
    return { name: store.name, capabilities: store.capabilities };
  },
  get: (...values) => store.get(...values),
  put: (...values) => store.put(...values),
  delete: (...values) => store.delete(...values),
  list: (...values) => store.list(...values),
  batch: (...values) => store.batch(...values),
  close: async () => store.close?.(),
};

const flat = (error) => ({
  message: String(error?.message ?? error),
  code: error?.code,
  key: error?.key,
  currentVersion: error?.currentVersion,
});

process.on('message', async ({ id, method, values }) => {
  let answer;
  try {
    answer = { id, value: await acts[method](...values) };
  } catch (error) {
    answer = { id, error: flat(error) };
  }
  process.send(answer);
});

process.on('disconnect', () => process.exit());
`;
