import { createEngine } from "./containers-fixture.ts";

/** An engine to be killed at any moment: makes, runs, stops and removes containers without end. */
const [at = ""] = process.argv.slice(2);
const { containers, create } = await createEngine({ at });
process.stdout.write("ready\n");

const ignore = (): void => {};
const sometimes = (share: number): boolean => Math.random() < share;

async function oneLife(round: number): Promise<void> {
  const id = await create(["sh", "-c", sometimes(0.5) ? `echo ${round}; exit ${round % 100}` : "sleep 100"], {
    config: sometimes(0.3) ? { Volumes: { "/data": {} } } : {},
    host: { AutoRemove: sometimes(0.3), ...(sometimes(0.3) ? { Binds: ["shared:/shared"] } : {}) },
  });
  await containers.start(id);
  if (sometimes(0.3)) return;
  if (sometimes(0.5)) await containers.kill(id).catch(ignore);
  await containers.remove(id, { force: true, volumes: true }).catch(ignore);
}

async function many(lane: number): Promise<void> {
  for (let round = lane; ; round += 3) await oneLife(round).catch(ignore);
}
await Promise.all([many(0), many(1), many(2)]);
