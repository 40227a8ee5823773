// @ts-check
/** The example is a project of its own: nothing of the configuration around it applies. */
export default { test: { include: ['*.test.mjs'] } };
