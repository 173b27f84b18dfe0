// exceptions.cpp - what honest C++ does: exceptions, iostreams, strings, threads refused, memory refused.
#include <cstdint>
#include <cstring>
#include <iostream>
#include <map>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

static uint32_t reply(void *out, const std::string &text)
{
	memcpy(out, text.data(), text.size());
	return static_cast<uint32_t>(text.size());
}

EXPORT uint32_t catches(void *, uint32_t, void *out)
{
	try {
		std::vector<int> none;
		return static_cast<uint32_t>(none.at(3));
	} catch (const std::out_of_range &) {
		return reply(out, "caught");
	}
}

EXPORT uint32_t streams(void *, uint32_t, void *out)
{
	std::map<std::string, double> numbers{{"pi", 3.14}, {"e", 2.71}};
	std::ostringstream text;
	for (const auto &n : numbers)
		text << n.first << '=' << n.second << ' ';
	std::cout << "from C++" << std::endl;
	return reply(out, text.str());
}

EXPORT uint32_t catches_bad_alloc(void *, uint32_t, void *out)
{
	std::vector<std::string> eaten;
	try {
		for (;;)
			eaten.emplace_back(1 << 20, 'x');
	} catch (const std::bad_alloc &) {
		eaten.clear();
		return reply(out, "enough");
	}
}

EXPORT uint32_t bad_alloc_escapes(void *, uint32_t, void *)
{
	std::vector<std::string> eaten;
	for (;;)
		eaten.emplace_back(1 << 20, 'x');
	return 0;
}

EXPORT uint32_t throws(void *, uint32_t, void *)
{
	throw std::runtime_error("nobody catches this");
}

EXPORT uint32_t no_thread(void *, uint32_t, void *out)
{
	try {
		std::thread([] {}).join();
		return reply(out, "a thread ran");
	} catch (const std::system_error &) {
		return reply(out, "no thread");
	}
}
