/*
 * fuzz_elf.c - the check of uploaded modules (src/registry/elf.c) over any bytes.
 * Proves: it reads within the file, and refuses in words or not at all. Input: the file.
 */
#include <errno.h>

#include "fuzz.h"
#include "registry/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char reason[64]; /* smaller than ADV_REASON_MAX: some sentences are cut */
	memset(reason, 'x', sizeof(reason));
	int rc = adv_elf_check(data, size, reason, sizeof(reason));
	FUZZ_CHECK(rc == 0 || rc == -EINVAL);
	if (rc != 0) {
		FUZZ_CHECK(memchr(reason, '\0', sizeof(reason)) != NULL);
		FUZZ_CHECK(strncmp(reason, "the file ", 9) == 0);
	} else {
		FUZZ_CHECK(size > 64 && data[0] == 0x7f && data[16] == 3); /* ET_DYN */
	}
	return 0;
}
