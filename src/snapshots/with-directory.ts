import { AT_FDCWD, closeFd, O, openAt } from "../kernel/fs.ts";

/** Opens a directory by its absolute path for as long as the work takes. @throws SysError */
export async function withDirectory<T>(path: string, work: (fd: number) => T | Promise<T>): Promise<T> {
  const fd = openAt(AT_FDCWD, Buffer.from(path).toString("latin1"), O.RDONLY | O.DIRECTORY);
  try {
    return await work(fd);
  } finally {
    closeFd(fd);
  }
}
