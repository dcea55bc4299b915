import { expect, test } from "bun:test";
import { parseHost, type SshHost } from "./host.ts";
import { sshCommand } from "./ssh.ts";

const commandOf = (text: string): string[] => sshCommand(parseHost(text) as SshHost);

test("ssh is given arguments, of which none can be an option or mean something to a shell", () => {
  const remote = (dial: string): string => `sh -c 'if command -v berth >/dev/null 2>&1; then exec berth ${dial}; else exec docker ${dial}; fi'`;
  expect(commandOf("ssh://host")).toEqual(["ssh", "-o", "ConnectTimeout=30", "-T", "--", "host", remote("system dial-stdio")]);
  expect(commandOf("ssh://me@[fe80::1]:2222/run/x.sock")).toEqual([
    ...["ssh", "-o", "ConnectTimeout=30", "-T", "-l", "me", "-p", "2222", "--", "fe80::1"],
    remote("--host unix:///run/x.sock system dial-stdio"),
  ]);
  for (const text of [
    "ssh://-oProxyCommand=x",
    "ssh://-lme@host",
    "ssh://host/'; rm",
    "ssh://host/a$(b)",
    "ssh://host/`b`",
    "ssh://ho st",
    "ssh://h\nx",
    "ssh://me:secret@host",
  ])
    expect(() => parseHost(text)).toThrow("unable to parse docker host");
});
