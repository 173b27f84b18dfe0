/* writes_files.c - makes, changes and removes files in every way; against the filter, before the read-only root is asked. */
#include <fcntl.h>

#include "attack.h"

#define PATH ((long)"/x")

ATTACK_BY_CALLS({SYS_openat, {AT_FDCWD, PATH, O_WRONLY | O_CREAT, 0600}},
		{SYS_openat, {AT_FDCWD, (long)"/", O_RDWR | O_TMPFILE, 0600}},
		{SYS_openat, {AT_FDCWD, PATH, O_RDONLY | O_CREAT, 0600}},
		{SYS_openat, {AT_FDCWD, PATH, O_RDONLY | O_TRUNC, 0600}},
		{SYS_openat2, {AT_FDCWD, PATH}}, {SYS_mkdirat, {AT_FDCWD, PATH, 0700}},
		{SYS_mknodat, {AT_FDCWD, PATH, 0600}}, {SYS_symlinkat, {PATH, AT_FDCWD, PATH}},
		{SYS_linkat, {AT_FDCWD, PATH, AT_FDCWD, PATH}},
		{SYS_renameat2, {AT_FDCWD, PATH, AT_FDCWD, PATH}}, {SYS_unlinkat, {AT_FDCWD, PATH}},
		{SYS_fchmodat, {AT_FDCWD, PATH, 0777}}, {SYS_fchownat, {AT_FDCWD, PATH, 0, 0}},
		{SYS_utimensat, {AT_FDCWD, PATH}}, {SYS_setxattr, {PATH, PATH, PATH, 2}},
		{SYS_pwrite64, {3, PATH, 2, 0}}, {SYS_sendfile, {3, 0, 0, 16}},
		{SYS_copy_file_range, {0, 0, 3, 0, 16}}, {SYS_splice, {0, 0, 3, 0, 16}},
		{SYS_vmsplice, {2, 0, 0}}, {SYS_name_to_handle_at, {AT_FDCWD, PATH}},
		{SYS_open_by_handle_at, {AT_FDCWD, 0}})
