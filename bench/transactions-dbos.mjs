import { DBOS } from '@dbos-inc/dbos-sdk';

process.noDeprecation = true; // It uses `pg` in a way that `pg` warns of.

const ignore = () => {};
const silent = { info: ignore, debug: ignore, warn: ignore, error: ignore };

/** DBOS as a fresh install has it, without its log; it makes its own database. Register workflows first. */
export function launch(url) {
  DBOS.setConfig({ name: 'bench', systemDatabaseUrl: url, logger: silent });
  return DBOS.launch();
}

export const shutdown = () => DBOS.shutdown();

/** A workflow of `count` steps, each `run(id, step)`; answers with a function of an id. */
export function workflow(name, count, run) {
  const registered = DBOS.registerWorkflow(
    async (id) => {
      for (let at = 1; at <= count; at++) await DBOS.runStep(() => run(id, `step-${at}`), { name: `step-${at}` });
      return id;
    },
    { name },
  );
  return (id) => DBOS.withNextWorkflowID(id, () => registered(id));
}

/** The same with a last step that fails, and with undoing written by hand, as its manual does it: steps in a `catch`. */
export function failingWorkflow(name, count, run) {
  const registered = DBOS.registerWorkflow(
    async (id) => {
      const done = [];
      try {
        for (let at = 1; at < count; at++) {
          await DBOS.runStep(() => run(id, `step-${at}`), { name: `step-${at}` });
          done.push(`step-${at}`);
        }
        await DBOS.runStep(() => Promise.reject(new Error('refused')), { name: `step-${count}` });
      } catch (error) {
        for (const step of done.reverse()) await DBOS.runStep(() => run(id, step), { name: `undo-${step}` });
        throw error;
      }
    },
    { name },
  );
  return (id) => DBOS.withNextWorkflowID(id, () => registered(id));
}
