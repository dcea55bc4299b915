import { expect, test } from "bun:test";
import { startHands } from "./hands.ts";

test("the end of the thread that starts processes is told of", async () => {
  const { promise, resolve } = Promise.withResolvers<Error>();
  using hands = startHands(resolve);
  const child = hands.spawner.spawn(["sleep", "1000"], { cwd: "/", env: {}, stdio: ["ignore", "ignore", "ignore"] });
  const pid = await child.pid;
  try {
    child.kill("SIGNONE" as NodeJS.Signals);
    expect((await promise).message).toContain("worker daemon/hands.worker.ts");
  } finally {
    process.kill(pid, "SIGKILL");
  }
});
