// @ts-check
import { storageContract } from 'holdfast/testing';
import { startTableService } from './table-service.mjs';
import tableStorage from './table-storage.mjs';

/** A fresh table for each rule, and all that the kit may do with it. */
async function tableUnderTest() {
  const service = await startTableService();
  return {
    open: () => tableStorage(service.url), //                     another instance over the same entries
    destroy: () => service.stop(),
    inProcess: {
      module: new URL('./table-storage.mjs', import.meta.url), // its default export, called in a process of its own ...
      argument: service.url, //                                   ... with this; some of these processes are killed
    },
    interrupt: () => service.cutConnections(), //                 200 times, while writers are at work
  };
}

storageContract('table', tableUnderTest, {
  lacks: ['atomicBatch', 'monotonicVersions', 'watch', 'close', 'damage'],
});
