import { chmodItselfAt, chownAt, closeFd, createAt, O, readlinkAt, statAt } from "../kernel/fs.ts";
import { SysError } from "../kernel/ffi.ts";
import { isSymlink, mostLinks, type Owner, type Root } from "./root.ts";

/**
 * A descriptor (O_PATH, the caller closes it) of what something is mounted on. Where nothing is there a directory of mode 0755 or an empty file of mode 0644 is
 * made, at the end of symbolic links too, and the directories above it, as runc does; crun up to 1.21 leaves 01755 and 0700, and fails at such a link.
 * @throws SysError
 */
export function openMountPoint(root: Root, path: string, isDirectory: boolean, owner: Owner, links = 0): number {
  if (isDirectory) return root.directory(path, owner);
  const present = root.open(path, O.PATH);
  if (present !== undefined) return present;
  if (links > mostLinks) throw new SysError("open", 40, path);
  const cut = path.lastIndexOf("/");
  const above = path.slice(0, Math.max(cut, 0));
  const name = path.slice(cut + 1);
  const parent = root.directory(above, owner);
  try {
    const found = statAt(parent, name);
    if (found !== undefined && isSymlink(found)) {
      const target = readlinkAt(parent, name);
      return openMountPoint(root, target.startsWith("/") ? target : `${above}/${target}`, false, owner, links + 1);
    }
    const made = createAt(parent, name, 0o644);
    if (made === undefined) throw new SysError("open", 17, path);
    closeFd(made);
    chownAt(parent, name, owner.uid, owner.gid);
    chmodItselfAt(parent, name, 0o644); // whatever the umask says
  } finally {
    closeFd(parent);
  }
  const opened = root.open(path, O.PATH);
  if (opened === undefined) throw new SysError("open", 2, path);
  return opened;
}
