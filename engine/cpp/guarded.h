// What every function behind C does with exceptions. Owns: this thread's last reason.

#pragma once

#include <c10/util/Exception.h>

#include <exception>
#include <string>

namespace {

thread_local std::string last_error;

// Runs `body`; 0 when it went well, else 1, with the reason in `last_error`.
template <typename Body>
int guarded(Body body) noexcept {
  try {
    body();
    return 0;
  } catch (const c10::Error& error) {
    last_error = error.what_without_backtrace();
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "an exception of unknown kind";
  }
  return 1;
}

} // namespace
