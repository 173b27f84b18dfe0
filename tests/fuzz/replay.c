/*
 * replay.c - runs a fuzz target over every file of the directories named, without a fuzzer, by any compiler.
 * Proves: what fuzzing has found interesting passes today. No file at all is a failure.
 */
#include <dirent.h>

#include "fuzz.h"

#define FILES_MAX 10000
#define BYTES_MAX (1 << 20)

static uint8_t buffer[BYTES_MAX];

static bool replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (file == NULL)
		return false;
	size_t size = fread(buffer, 1, sizeof(buffer), file);
	fclose(file);
	uint8_t *exact = malloc(size); /* so that a sanitizer sees its end */
	if (exact == NULL && size > 0)
		return false;
	if (size > 0)
		memcpy(exact, buffer, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return true;
}

static int replay_all(const char *folder)
{
	char path[4096];
	int count = 0;
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	while (dir != NULL && count < FILES_MAX && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (!replay(path)) {
			fprintf(stderr, "%s cannot be read\n", path);
			count = 0;
			break;
		}
		count++;
	}
	if (dir != NULL)
		closedir(dir);
	printf("%s: %d files replayed\n", folder, count);
	return count;
}

int main(int argc, char **argv)
{
	bool ok = argc > 1;
	for (int i = 1; i < argc; i++)
		ok &= replay_all(argv[i]) > 0;
	return ok ? 0 : 1;
}
