// Creates each store that the parent names, at the moment it names it, beside another process that does the same.
import { ConflictError, fileStorage } from 'holdfast';
import { heard, say } from './speech.mjs';

const [name] = process.argv.slice(2);

async function create(folder) {
  const storage = fileStorage(folder);
  await storage.put(`from/${name}`, Buffer.from(name));
  try {
    await storage.put('first', Buffer.from(name), { ifVersion: null });
    return 'won';
  } catch (error) {
    if (!(error instanceof ConflictError)) throw error;
    return 'lost';
  } finally {
    await storage.close();
  }
}

const orders = heard();
say('ready');
for (let order = await orders.next(); !order.done; order = await orders.next()) {
  say(await create(order.value).catch((error) => `failed: ${error.message}`));
}
