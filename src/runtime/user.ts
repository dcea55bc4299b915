import { invalidArgument } from "../lib/errors.ts";
import type { UserSpec } from "../oci/runtime-spec.ts";
import { readInside } from "./inside.ts";

/** A hostile image may make these files as long as it likes. */
const LONGEST = 4 << 20;
const HIGHEST_ID = 0x7fffffff;

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
}

interface GroupEntry {
  name: string;
  gid: number;
  members: string[];
}

/**
 * `user[:group]`, names or numbers, against the container's own /etc/passwd and /etc/group, read without leaving `root`.
 * Empty means root. @throws EngineError invalidArgument in Docker's words
 */
export function resolveUser(root: string, user: string, groupAdd: readonly string[] = []): UserSpec {
  return findUser(user, groupAdd, readEntries(root, "/etc/passwd"), readEntries(root, "/etc/group"));
}

/** The pure part of `resolveUser`: the two files as lines. */
export function findUser(user: string, groupAdd: readonly string[], passwdLines: readonly string[], groupLines: readonly string[]): UserSpec {
  const passwd = passwdLines.flatMap(passwdEntry);
  const groups = groupLines.flatMap(groupEntry);
  const [userPart = "", groupPart = ""] = user.split(":", 2);

  const number = idOf(userPart);
  const found = passwd.find((each) => (userPart === "" ? each.uid === 0 : each.name === userPart)) ?? passwd.find((each) => each.uid === number);
  if (found === undefined && userPart !== "" && number === undefined)
    throw invalidArgument(`unable to find user ${userPart}: no matching entries in passwd file`);
  const uid = found?.uid ?? number ?? 0;
  if (uid > HIGHEST_ID) throw invalidArgument(`uids and gids must be in range 0-${HIGHEST_ID}`);

  // a group given by hand replaces the user's own groups
  const supplementary = groupPart === "" && found !== undefined ? groups.filter((each) => each.members.includes(found.name)).map((each) => each.gid) : [];
  const gid = groupPart === "" ? (found?.gid ?? 0) : groupId(groupPart, groups);
  const added = groupAdd.map((each) => groupId(each, groups));
  return { uid, gid, additionalGids: [...new Set([gid, ...supplementary, ...added])] };
}

function groupId(group: string, groups: readonly GroupEntry[]): number {
  const gid = groups.find((each) => each.name === group)?.gid ?? idOf(group);
  if (gid === undefined) throw invalidArgument(`Unable to find group ${group}: no matching entries in group file`);
  if (gid > HIGHEST_ID) throw invalidArgument(`uids and gids must be in range 0-${HIGHEST_ID}`);
  return gid;
}

function idOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
}

function passwdEntry(line: string): PasswdEntry[] {
  const [name, , uid, gid] = line.split(":");
  const [uidNumber, gidNumber] = [idOf(uid), idOf(gid)];
  return name === undefined || uidNumber === undefined || gidNumber === undefined ? [] : [{ name, uid: uidNumber, gid: gidNumber }];
}

function groupEntry(line: string): GroupEntry[] {
  const [name, , gid, members = ""] = line.split(":");
  const gidNumber = idOf(gid);
  return name === undefined || gidNumber === undefined ? [] : [{ name, gid: gidNumber, members: members.split(",").filter(Boolean) }];
}

function readEntries(root: string, path: string): string[] {
  const text = readInside(root, path, LONGEST) ?? "";
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}
