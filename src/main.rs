/// Many small, short-lived pieces of JSON and BSON on several threads: the system's allocator would take a fifth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tango::cli::run()
}
