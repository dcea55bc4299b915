import { expect, test } from "bun:test";
import { fileURLToPath } from "node:url";

/** As the engine: what is thrown where nobody waits goes to the process. */
const program = `
  import { startHands } from ${JSON.stringify(fileURLToPath(new URL("hands.ts", import.meta.url)))};
  import { WorkerDeath } from ${JSON.stringify(fileURLToPath(new URL("../lib/worker.ts", import.meta.url)))};
  const child = startHands().spawner.spawn(["sleep", "1000"], { cwd: "/", env: {}, stdio: ["ignore", "ignore", "ignore"] });
  const pid = await child.pid;
  process.on("uncaughtException", (error) => {
    process.kill(pid, "SIGKILL");
    console.log(error instanceof WorkerDeath, error.message);
    process.exit(3);
  });
  child.kill("SIGNONE");
  setTimeout(() => {}, 10_000);
`;

test("the end of the thread that starts processes is thrown, for the engine to end", async () => {
  const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe" });
  expect(await child.stdout.text()).toStartWith("true worker daemon/hands.worker.ts");
  expect(await child.exited).toBe(3);
});
