/**
 * A network outside of the one that `onHost` enters: at 192.0.2.9, behind the link `world`, whose own address is 192.0.2.1. It is there while `program` runs in it,
 * whose process this is.
 */
export async function openWorld(program: string, onHost: readonly string[] = []): Promise<Bun.Subprocess> {
  const world = Bun.spawn(["unshare", "--net", "sh", "-c", `echo ready; ${program}`], { stdio: ["ignore", "pipe", "inherit"] });
  await world.stdout.getReader().read(); // from then on in its namespace
  const outside = "ip link set lo up; ip addr add 192.0.2.9/24 dev eth0; ip link set eth0 up";
  const script = `ip link set lo up; ip link add world type veth peer name eth0 netns ${world.pid}
    ip addr add 192.0.2.1/24 dev world; ip link set world up
    nsenter --target=${world.pid} --net sh -ec '${outside}'`;
  const { exitCode, stderr } = Bun.spawnSync([...onHost, "sh", "-ec", script], { stderr: "pipe" });
  if (exitCode === 0) return world;
  world.kill("SIGKILL");
  throw new Error(`a network outside: ${stderr.toString()}`);
}
