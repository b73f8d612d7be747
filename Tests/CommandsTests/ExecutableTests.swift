import BrambleAPI
import Glibc
import Testing

@Suite("the executable behaves on a real terminal, a pipe and a full disk")
struct ExecutableTests {
    /// Built beside the tests.
    private static let program: String = {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let own = String(decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return String(own[..<(own.lastIndex(of: "/") ?? own.startIndex)]) + "/bramble"
    }()

    /// A terminal of 100 by 12, with the program in it: `expect` waits for a text, `finish` for the end.
    private static let terminal = """
        import fcntl, os, pty, select, struct, sys, termios, time
        def start(*words):
            global child, screen, seen
            child, screen = pty.fork()
            if child == 0:
                # By the child itself: set from outside, the program may look before it is set.
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 100, 0, 0))
                os.execv(sys.argv[1], [sys.argv[1], *words, "--socket", sys.argv[2]])
            seen = ""
        def expect(text):
            deadline = time.monotonic() + 120
            while text not in seen:
                if not more(deadline, f"no {text!r}"): sys.exit(f"ended without {text!r}: {seen!r}")
        def more(deadline, otherwise):
            global seen
            ready, _, _ = select.select([screen], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                os.kill(child, 9)
                sys.exit(f"{otherwise} in {seen!r}")
            try: piece = os.read(screen, 65536)
            except OSError: piece = b""
            seen += piece.decode()
            return bool(piece)
        def echoes():
            flags = termios.tcgetattr(screen)[3]
            return bool(flags & termios.ECHO) and bool(flags & termios.ISIG)
        def type(text): os.write(screen, text.encode())
        def finish():
            deadline = time.monotonic() + 120
            while more(deadline, "no end"): pass
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

        """

    private func play(_ script: String, _ shell: Shell = Shell()) async throws {
        let (output, code) = try await run(
            "python3", ["FILE", Self.program, shell.server.path], file: Self.terminal + script + "\nprint('played')")
        #expect(output == "played\n")
        #expect(code == 0)
    }

    @Test("a password is asked twice and never shown")
    func password() async throws {
        let shell = Shell()
        try await play(
            """
            start("password")
            expect("New password of admin: ")
            assert not echoes()
            type("four words here\\n")
            expect("The same again: ")
            type("four words here\\n")
            expect("The password of admin is changed.")
            assert finish() == 0
            assert "words" not in seen, seen
            """, shell)
        #expect(shell.server.asked.last?.hasSuffix(#"{"password":"four words here"}"#) == true)
    }

    @Test("Ctrl-C at a password leaves the terminal as it was, and nothing is sent")
    func interrupted() async throws {
        let shell = Shell()
        try await play(
            """
            start("password")
            expect("New password of admin: ")
            type("half\\x03")
            while not echoes(): time.sleep(0.01)
            assert finish() == -2
            assert "half" not in seen, seen
            """, shell)
        #expect(shell.server.asked.isEmpty)
    }

    @Test("on a terminal a removal says what will happen and waits for the answer")
    func removal() async throws {
        let shell = Shell()
        try await play(
            """
            start("node", "remove", "serv4")
            expect("Type yes to go on: ")
            assert "leaves cluster “home” for good" in seen, seen
            type("yes\\n")
            expect("serv4 was removed")
            assert finish() == 0
            """, shell)
        #expect(shell.server.asked.last?.hasPrefix("DELETE /v1/nodes/serv4 ") == true)
    }

    @Test("nodes --watch fills the screen it has, and Ctrl-C ends it")
    func watch() async throws {
        let crowd = (1...40).map { number in
            var node = Example.nodes[1]
            node.name = "node\(number)"
            return node
        }
        let shell = Shell { _ in
            Shell.streamHead + [.send("event: nodes\ndata: \(Shell.json(crowd))\n\n"), .hang]
        }
        try await play(
            """
            start("nodes", "--watch")
            expect("Ctrl-C ends")
            frame = seen[seen.index("\\x1b[H"):]
            assert frame.count("\\n") == 11, frame
            assert "more; the window is too low" in frame, frame
            assert "40 nodes: 40 suspect" in frame, frame
            type("\\x03")
            assert finish() == -2
            """, shell)
    }

    @Test("colours are for terminals, and not with NO_COLOR")
    func colours() async throws {
        try await play(
            """
            os.environ["TERM"] = "xterm"
            start("nodes")
            assert finish() == 0 and "\\x1b[32malive" in seen, seen
            os.environ["NO_COLOR"] = "1"
            start("nodes")
            assert finish() == 0 and "alive" in seen and "\\x1b" not in seen, seen
            os.environ["NO_COLOR"] = ""
            os.environ["TERM"] = "dumb"
            start("nodes")
            assert finish() == 0 and "alive" in seen and "\\x1b" not in seen, seen
            """)
    }

    @Test("a terminal without UTF-8 gets ASCII alone, and JSON stays JSON")
    func ascii() async throws {
        try await play(
            """
            import json
            os.environ["LC_ALL"] = "C"
            for words in (["nodes"], ["why", "serv3"], ["why", "serv3", "--json"], ["nodse"], ["events", "--json"]):
                start(*words)
                finish()
                assert seen.isascii() and ("phi" in seen.lower() or "nodse" in words), (words, seen)
                if "--json" in words: json.loads(seen)
            """)
    }

    @Test("with https a certificate must be vouched for, by --ca or on the operator's word")
    func encrypted() async throws {
        let server = """
            import http.server, ssl, sys
            class Node(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.end_headers()
                    self.wfile.write(b"[]")
                def log_message(self, *_): pass
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain("cert.pem", "key.pem")
            server = http.server.HTTPServer(("127.0.0.1", 0), Node)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            open("port", "w").write(str(server.server_port))
            server.serve_forever()
            """
        let (output, code) = try await run(
            "bash", ["FILE"],
            file: """
                cd "$HOME"
                openssl req -x509 -newkey ed25519 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=serv1 \
                    -addext subjectAltName=IP:127.0.0.1 2>/dev/null
                cat >server.py <<'END'
                \(server)
                END
                python3 server.py &
                trap 'kill $!; wait' EXIT
                for attempt in {1..200}; do [ -s port ] && break; sleep 0.05; done
                ask() { '\(Self.program)' nodes --json --api "https://127.0.0.1:$(cat port)" "$@"; echo $?; }
                ask
                ask --ca cert.pem
                ask --insecure
                """)
        let lines = output.split(separator: "\n").map { String($0) }
        #expect(code == 0)
        #expect(lines.first?.hasPrefix("bramble: the certificate of https://127.0.0.1:") == true, "\(output)")
        #expect(lines.dropFirst(2) == ["1", "[]", "0", "[]", "0"], "\(output)")
        #expect(lines.dropFirst().first?.contains("--ca FILE") == true)
    }

    @Test("a reader that goes away ends the command quietly; a full disk is told")
    func outputs() async throws {
        let shell = Shell()
        let node = "'\(Self.program)' --socket '\(shell.server.path)'"
        let (output, _) = try await run(
            "bash", ["FILE"],
            file: """
                \(node) nodes --json | true
                \(node) nodes --json >/dev/full; echo $?
                """)
        #expect(output == "bramble: cannot write: No space left on device\nremedy: check the disk and the file\n1\n")
    }

    @Test("without libcurl the command line says which package to install, and what needs none still works")
    func libraryMissing() async throws {
        let (output, _) = try await run(
            "bash", ["FILE"],
            file: """
                mkdir "$HOME/lib"
                touch "$HOME/lib/libcurl.so.4" "$HOME/lib/libcurl-gnutls.so.4"
                export LD_LIBRARY_PATH="$HOME/lib"
                '\(Self.program)' nodes; echo $?
                '\(Self.program)' --version >/dev/null; echo $?
                """)
        let lines = output.split(separator: "\n").map { String($0) }
        #expect(lines.count == 4)
        #expect(lines.first?.hasPrefix("bramble: the command line needs libcurl, which cannot be loaded") == true)
        #expect(lines.dropFirst() == ["remedy: install it: apt-get install libcurl4", "1", "0"])
    }

    @Test("the daemon, which is the same executable, does not carry libcurl")
    func notLinked() async throws {
        let (libraries, code) = try await run("ldd", [Self.program], file: "")
        #expect(code == 0 && libraries.contains("libc.so.6"))
        #expect(!libraries.contains("curl"))
    }
}
