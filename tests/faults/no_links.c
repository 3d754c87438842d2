/* A file system that has no symbolic links, as FAT has none on an SD card.
 *
 *     cc -shared -fPIC -o no_links.so no_links.c    and then LD_PRELOAD=no_links.so */
#include <errno.h>

int symlink(const char *target, const char *path)
{
    (void)target;
    (void)path;
    errno = EPERM; /* what Linux says for vfat and exfat */
    return -1;
}

int symlinkat(const char *target, int folder, const char *path)
{
    (void)folder;
    return symlink(target, path);
}
