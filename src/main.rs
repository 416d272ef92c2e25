fn main() -> std::process::ExitCode {
    tango::cli::run()
}
