//! The `sharpwave` command: arguments in, exit code out. 0: done; 1: failed on the way; 2: refused before anything was done;
//! 130: interrupted.

fn main() -> std::process::ExitCode {
    sharpwave::cli::main(std::env::args_os())
}
