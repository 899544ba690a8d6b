//! The library as C and C++ see it: headers, symbols, examples, and what is installed.
//!
//! These tests use the system's compilers. Where one is missing they say so and leave out what
//! needs it.

use std::collections::BTreeSet;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const HEADERS: [&str; 2] = ["anemone.h", "ane_bridge.h"];

/// Each example, its language and what it is run with.
const EXAMPLES: [(&str, Language, &[&str]); 5] = [
    ("bridge_matmul.c", Language::C, &["packed_matmul.mil"]),
    ("linear.c", Language::C, &["linear.mil"]),
    ("linear.c", Language::C, &["linear.mil", "ane-emulated"]),
    ("raii.cpp", Language::Cpp, &["linear.mil", "cpu"]),
    ("raii.cpp", Language::Cpp, &["linear.mil", "ane-emulated:m1"]),
];

const ADDRESS_SANITIZER: &[&str] = &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    C,
    Cpp,
}

impl Language {
    /// The compiler with the options for its standard, and every warning an error.
    fn compiler(self) -> Command {
        let (name, standard) = match self {
            Language::C => ("cc", "-std=c99"),
            Language::Cpp => ("c++", "-std=c++11"),
        };
        let mut command = Command::new(name);
        command.args([standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-g"]);
        command
    }

    /// Whether it compiles, links and runs a program at all with these options. If not, says what
    /// is left out.
    fn works(self, options: &[&str], left_out: &str) -> bool {
        let folder = folder(&format!("probe-{self:?}-{}", options.len()));
        let source = folder.join(if self == Language::C { "probe.c" } else { "probe.cpp" });
        fs::write(&source, "int main(void) { return 0; }\n").expect("a file can be written");
        let program = folder.join("probe");
        let built = self.compiler().args(options).arg(&source).arg("-o").arg(&program).output();
        let ran = built.is_ok_and(|built| built.status.success())
            && Command::new(&program).output().is_ok_and(|ran| ran.status.success());
        if !ran {
            tell(&format!("not run: {left_out}, for want of a {self:?} compiler with {options:?}"));
        }
        ran
    }
}

/// Says something even if the test passes.
fn tell(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A new empty folder.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("capi-c-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a folder can be made");
    path
}

/// Where the libraries of this build are: beside the test.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its file");
    let folder = test.parent().expect("a file is in a folder").to_owned();
    assert!(shared_library(&folder).is_file(), "no library in {}", folder.display());
    folder
}

fn shared_library(folder: &Path) -> PathBuf {
    folder.join(format!("{DLL_PREFIX}anemone_c{DLL_SUFFIX}"))
}

/// The output of a command that succeeds.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}

/// Compiles an example against the libraries in a folder; `link` are the options for linking.
fn build<S: AsRef<OsStr>>(source: &Path, language: Language, link: &[S], program: &Path) {
    let mut compiler = language.compiler();
    compiler.arg("-I").arg(here().join("include")).arg(source).arg("-o").arg(program);
    run(compiler.args(link).arg("-lm"));
}

/// Options for linking with the shared library in a folder.
fn shared(folder: &Path) -> Vec<String> {
    let folder = folder.display();
    vec![format!("-L{folder}"), "-lanemone_c".to_owned(), format!("-Wl,-rpath,{folder}")]
}

fn example(name: &str) -> PathBuf {
    here().join("examples").join(name)
}

fn run_examples(name: &str, options: &[&str]) {
    let folder = folder(name);
    let mut link = shared(&libraries());
    link.extend(options.iter().map(|&option| option.to_owned()));
    for (number, (source, language, arguments)) in EXAMPLES.into_iter().enumerate() {
        if !language.works(options, &format!("{source} with {arguments:?}")) {
            continue;
        }
        let program = folder.join(number.to_string());
        build(&example(source), language, &link, &program);
        let (file, rest) = arguments.split_first().expect("every example reads a program");
        let ran = run(Command::new(&program).arg(example(file)).args(rest));
        assert!(ran.stderr.is_empty(), "{source}: {}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
fn examples_run_in_c_and_cpp() {
    run_examples("examples", &[]);
}

#[test]
fn examples_run_under_the_address_sanitizer() {
    run_examples("sanitized", ADDRESS_SANITIZER);
}

#[test]
fn the_bridge_is_configured_by_the_environment() {
    if !Language::C.works(&[], "the bridge with other devices") {
        return;
    }
    let program = folder("bridge").join("bridge");
    build(&example("bridge_matmul.c"), Language::C, &shared(&libraries()), &program);
    let bridge = |device: &str, verbose: &str| {
        let mut command = Command::new(&program);
        command.arg(example("packed_matmul.mil"));
        command.env("ANE_BRIDGE_DEVICE", device).env("ANE_BRIDGE_VERBOSE", verbose);
        let output = command.output().expect("the program was just built");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(bridge("cpu", ""), (true, String::new()));
    assert_eq!(bridge("ane-emulated:m1", "1"), (true, String::new()));
    let message = "ane_bridge_init: there is no device `gpu`; this library has cpu and \
                   ane-emulated\n";
    assert_eq!(bridge("gpu", ""), (false, message.to_owned()), "what the example prints");
    assert_eq!(bridge("gpu", "1"), (false, message.repeat(2)), "and the library before it");
}

#[test]
fn the_static_library_links() {
    let library = libraries().join("libanemone_c.a");
    if !cfg!(target_os = "linux") {
        tell("not run: the static library, whose system libraries are known for Linux only");
        return;
    }
    if !Language::C.works(&[], "the static library") {
        return;
    }
    let program = folder("static").join("linear");
    let library = library.display().to_string();
    let link = [library.as_str(), "-lgcc_s", "-lpthread", "-ldl"];
    build(&example("linear.c"), Language::C, &link, &program);
    run(Command::new(&program).arg(example("linear.mil")));
}

#[test]
fn headers_stand_alone_and_twice() {
    let folder = folder("headers");
    for (language, extension) in [(Language::C, "c"), (Language::Cpp, "cpp")] {
        if !language.works(&[], "headers twice and alone") {
            continue;
        }
        for header in HEADERS {
            let source = folder.join(format!("{header}.{extension}"));
            let other = HEADERS.into_iter().find(|&other| other != header).expect("there are two");
            let text = [header, header, other].map(|h| format!("#include <{h}>\n")).concat();
            fs::write(&source, format!("{text}int nothing;\n")).expect("a file can be written");
            let mut compiler = language.compiler();
            // C++ has no other kind.
            compiler.args((language == Language::C).then_some("-Wstrict-prototypes"));
            let include = here().join("include");
            run(compiler.arg("-I").arg(include).arg("-fsyntax-only").arg(&source));
        }
    }
}

/// The functions that a header declares.
fn declared(header: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(here().join("include").join(header)).expect("a header");
    let mut code = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("/*") {
        code.push_str(before);
        rest = after.split_once("*/").expect("every comment ends").1;
    }
    code.push_str(rest);
    let name = |before: &str| {
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        before[start..].to_owned()
    };
    let opened = code.match_indices('(').map(|(at, _)| name(&code[..at]));
    opened.filter(|name| !name.is_empty()).collect()
}

#[test]
fn the_library_exports_what_the_headers_declare() {
    let mut command = Command::new("nm");
    command.args(if cfg!(target_os = "macos") { ["-gU"] } else { ["-D"] });
    let Ok(output) = command.arg(shared_library(&libraries())).output() else {
        tell("not run: exported symbols, for want of nm");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).expect("symbols are text");
    let exported: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields[..] {
                [_, "T" | "t" | "D" | "B" | "R" | "W" | "V", name] => Some(name),
                _ => None,
            }
        })
        .map(|name| if cfg!(target_os = "macos") { &name[1..] } else { name })
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .collect();
    let declared: BTreeSet<String> = HEADERS.into_iter().flat_map(declared).collect();
    assert!(declared.len() > 40, "the headers declare {declared:?}");
    let missing: Vec<_> = declared.difference(&exported).collect();
    let unknown: Vec<_> = exported.difference(&declared).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

#[test]
fn the_engines_rules_hold_for_the_examples() {
    for name in ["packed_matmul.mil", "linear.mil"] {
        let text = fs::read_to_string(example(name)).expect("an example");
        let program = mil::parse(&text).unwrap_or_else(|e| panic!("{name}: {}", e.render(&text)));
        for chip in ane::target::Chip::ALL {
            let findings = ane::target::check(&program, &ane::target::Target::of(chip));
            let fatal: Vec<_> = findings.iter().filter(|finding| finding.is_fatal()).collect();
            assert!(fatal.is_empty(), "{name} on {chip}: {fatal:?}");
        }
    }
}

#[test]
fn what_is_installed_is_found_by_pkg_config() {
    if !Language::C.works(&[], "the installation") {
        return;
    }
    if Command::new("pkg-config").arg("--version").output().is_err() {
        tell("not run: the installation, for want of pkg-config");
        return;
    }
    let prefix = folder("installed").join("a & b");
    let script = here().join("../../scripts/install-capi.sh");
    run(Command::new("sh").arg(script).arg(&prefix).arg(libraries()));
    let ask = |option: &str| {
        let mut command = Command::new("pkg-config");
        command
            .args(option.split(" "))
            .arg("anemone")
            .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
        String::from_utf8(run(&mut command).stdout).expect("pkg-config prints text")
    };
    assert_eq!(ask("--modversion").trim(), env!("CARGO_PKG_VERSION"));
    // What pkg-config prints is meant for a shell.
    let (source, program) = (example("linear.c"), prefix.join("linear"));
    let command = format!(
        "cc -std=c99 -Wall -Wextra -Werror '{}' {} -o '{}'",
        source.display(),
        ask("--cflags --libs").trim(),
        program.display()
    );
    run(Command::new("sh").arg("-c").arg(command));
    let mut linear = Command::new(&program);
    run(linear.arg(example("linear.mil")).env("LD_LIBRARY_PATH", prefix.join("lib")));
}
