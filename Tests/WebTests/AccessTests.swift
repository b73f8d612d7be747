import BrambleAPI
import Glibc
import Primitives
import Reactor
import Testing
import WebTestSupport

@testable import Web

@Suite("who may do what")
struct AccessTests {
    @Test("nothing but health, the login page and what it is made of is told without a login")
    func closedByDefault() async throws {
        try await withServer { _, address in
            for route in RouteTable.all {
                let path = route.path.replacing("{name}", with: "node2")
                let reply = try await request(route.method, path, at: address)
                switch (route.method, route.path) {
                case ("GET", "/health"), ("GET", "/login"): #expect(reply.status == 200)
                case ("POST", "/login"): #expect(reply.status == 400)  // no body
                case ("POST", "/logout"): #expect(reply.status == 204)
                case ("GET", "/"):
                    #expect(reply.status == 303)
                    #expect(reply.header("Location") == "/login")
                default:
                    #expect(reply.status == 401, "\(route.method) \(path)")
                    #expect(reply.header("WWW-Authenticate") == "Bearer")
                }
            }
        }
    }

    @Test("a login gives a cookie that scripts cannot read and other sites cannot send")
    func cookie() async throws {
        try await withServer { _, address in
            let reply = try await request(
                "POST", "/login", at: address, body: #"{"user":"admin","password":"correct horse"}"#)
            #expect(reply.status == 200)
            let cookie = try #require(reply.header("Set-Cookie"))
            #expect(
                cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict") && cookie.contains("; Path=/"))
            #expect(!cookie.contains("Secure"), "over plain HTTP the browser would drop it")
            let secret = try #require(cookie.split(separator: ";").first?.split(separator: "=").last)
            #expect(secret.count == 43)
            let nodes = try await request(
                "GET", "/v1/nodes", at: address, headers: [("Cookie", "x=y; \(cookie.prefix { $0 != ";" })")])
            #expect(nodes.status == 200)
        }
    }

    @Test("sessions of two logins differ, and logging out ends one only")
    func logOut() async throws {
        try await withServer { _, address in
            let first = try await logIn(at: address)
            let second = try await logIn(at: address)
            #expect(first != second)
            let out = try await request(
                "POST", "/logout", at: address, headers: [("Cookie", first), ("Origin", "http://bramble.test")])
            #expect(out.status == 204)
            let after = try await request("GET", "/v1/nodes", at: address, headers: [("Cookie", first)])
            #expect(after.status == 401)
            let other = try await request("GET", "/v1/nodes", at: address, headers: [("Cookie", second)])
            #expect(other.status == 200)
        }
    }

    @Test("a session ends after 12 hours without use, and after 7 days in any case")
    func expiry() async throws {
        let clock = TestClock()
        try await withServer(now: { clock.now }) { _, address in
            let quiet = try await logIn(at: address)
            clock.advance(.seconds(12 * 3600 - 60))
            #expect(try await request("GET", "/v1/nodes", at: address, headers: [("Cookie", quiet)]).status == 200)
            clock.advance(.seconds(12 * 3600))
            #expect(try await request("GET", "/v1/nodes", at: address, headers: [("Cookie", quiet)]).status == 401)

            let busy = try await logIn(at: address)
            var status = 200
            var hours = 0
            while status == 200, hours < 24 * 10 {
                clock.advance(.seconds(6 * 3600))
                hours += 6
                status = try await request("GET", "/v1/nodes", at: address, headers: [("Cookie", busy)]).status
            }
            #expect(status == 401)
            #expect(hours == 7 * 24)
        }
    }

    @Test("the table of sessions is bounded: the quietest gives way")
    func sessionsAreBounded() {
        var sessions = Sessions()
        let start = Instant(sinceBoot: .seconds(1))
        let first = sessions.begin(user: "a", now: start)
        let second = sessions.begin(user: "a", now: start + .seconds(1))
        _ = sessions.find(first, now: start + .seconds(2))
        for number in 0..<Sessions.capacity { _ = sessions.begin(user: "b", now: start + .seconds(3 + number)) }
        #expect(sessions.count == Sessions.capacity)
        #expect(sessions.find(second, now: start + .seconds(900)) == nil)
    }

    @Test("a page of another site cannot act with a session")
    func foreignPage() async throws {
        let cluster = FakeCluster()
        cluster.wait("new", code: "AAAA BBBB CCCC")
        try await withServer(cluster) { _, address in
            let cookie = try await logIn(at: address)
            let body = #"{"name":"new"}"#
            for headers in [
                [("Origin", "http://evil.test")], [("Origin", "null")], [("Origin", "https://bramble.test")],
                [("Sec-Fetch-Site", "cross-site")],
                [("Sec-Fetch-Site", "same-site"), ("Origin", "http://bramble.test")],
                [],
            ] {
                let reply = try await request(
                    "POST", "/v1/nodes", at: address, headers: [("Cookie", cookie)] + headers, body: body)
                #expect(reply.status == 403, "\(headers)")
            }
            #expect(cluster.change { $0.changes } == [])
            let own = try await request(
                "POST", "/v1/nodes", at: address, headers: [("Cookie", cookie), ("Origin", "http://bramble.test")],
                body: body)
            #expect(own.status == 200)
        }
    }

    @Test("a page of another site cannot log anybody in")
    func foreignLogin() async throws {
        try await withServer { _, address in
            let reply = try await request(
                "POST", "/login", at: address, headers: [("Origin", "http://evil.test")],
                body: #"{"user":"admin","password":"correct horse"}"#)
            #expect(reply.status == 403)
        }
    }

    @Test("after five wrong passwords the next is not even looked at, the right one included")
    func wrongPasswords() async throws {
        let clock = TestClock()
        let cluster = FakeCluster()
        try await withServer(cluster, now: { clock.now }) { _, address in
            let wrong = #"{"user":"admin","password":"guess"}"#
            for _ in 0..<5 {
                let reply = try await request("POST", "/login", at: address, body: wrong)
                #expect(reply.status == 401)
                #expect(reply.text.contains("remedy"))
            }
            let slowed = try await request(
                "POST", "/login", at: address, body: #"{"user":"admin","password":"correct horse"}"#)
            #expect(slowed.status == 429)
            #expect(slowed.header("Retry-After") == "2")
            #expect(slowed.text.contains("wait 2 s"))
            #expect(cluster.change { $0.passwordChecks } == 5)
            clock.advance(.seconds(2))
            #expect(try await request("POST", "/login", at: address, body: wrong).status == 401)
            #expect(try await request("POST", "/login", at: address, body: wrong).header("Retry-After") == "4")
            clock.advance(.seconds(4))
            _ = try await logIn(at: address)
            #expect(try await request("POST", "/login", at: address, body: wrong).status == 401, "all is forgiven")
        }
    }

    @Test("guesses sent side by side do not slip through, and are looked at one at a time")
    func parallelGuesses() async throws {
        let cluster = FakeCluster(beforePassword: { try? await Task.sleep(for: .milliseconds(20)) })
        try await withServer(cluster) { _, address in
            let statuses = try await withThrowingTaskGroup(of: Int.self) { group in
                for number in 0..<30 {
                    group.addTask {
                        try await request(
                            "POST", "/login", at: address, body: #"{"user":"admin","password":"guess\#(number)"}"#
                        ).status
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(statuses.count { $0 == 429 } == 25)
            #expect(cluster.change { $0.passwordChecks } == 5)
            #expect(cluster.change { $0.mostChecksAtOnce } == 1)
        }
    }

    @Test("a password or a user that is absurdly long is wrong without being looked at")
    func longPassword() async throws {
        let cluster = FakeCluster()
        try await withServer(cluster) { _, address in
            let long = String(repeating: "p", count: 5000)
            let reply = try await request(
                "POST", "/login", at: address, body: #"{"user":"admin","password":"\#(long)"}"#)
            #expect(reply.status == 401)
            #expect(cluster.change { $0.passwordChecks } == 0)
        }
    }

    @Test("a guesser waits ever longer; the user whose password it guesses never longer than 30 s")
    func throttleFigures() throws {
        var throttle = LoginThrottle()
        let attacker = try #require(IPAddress("192.0.2.7"))
        let operatorAddress = try #require(IPAddress("192.0.2.8"))
        var now = Instant(sinceBoot: .seconds(10))
        var waits: [Int] = []
        for _ in 0..<20 {
            while let wait = throttle.attempt(from: attacker, user: "admin", now: now) {
                waits.append(Int(wait.seconds))
                now = now + wait
            }
        }
        #expect(waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900, 900])
        let own = throttle.attempt(from: operatorAddress, user: "admin", now: now)
        #expect(try #require(own) <= .seconds(30))
    }

    @Test("an IPv6 client cannot escape by changing its address within its network")
    func throttleNetwork() throws {
        var throttle = LoginThrottle()
        let now = Instant(sinceBoot: .seconds(10))
        for number in 1...5 {
            let address = try #require(IPAddress("2001:db8::\(number)"))
            #expect(throttle.attempt(from: address, user: "user\(number)", now: now) == nil)
        }
        let next = try #require(IPAddress("2001:db8::6"))
        #expect(throttle.attempt(from: next, user: "user6", now: now) != nil)
    }

    @Test("the table of guessers is bounded")
    func throttleIsBounded() {
        var throttle = LoginThrottle()
        for number in 0..<10_000 {
            _ = throttle.attempt(
                from: .v4(UInt32(number)), user: "user\(number)", now: Instant(sinceBoot: .seconds(number / 100)))
        }
        #expect(throttle.count <= LoginThrottle.capacity)
    }

    @Test("wrong tokens in a row slow down whoever sends them")
    func wrongTokens() async throws {
        try await withServer(clusterWithToken()) { _, address in
            var statuses: [Int] = []
            for _ in 0..<21 {
                statuses.append(
                    try await request("GET", "/v1/nodes", at: address, headers: [("Authorization", "Bearer wrong")])
                        .status)
            }
            #expect(statuses == Array(repeating: 401, count: 20) + [429])
        }
    }

    @Test("a token works until it is revoked; its secret is shown once")
    func tokens() async throws {
        try await withServer { _, address in
            let cookie = try await logIn(at: address)
            let own = [("Cookie", cookie), ("Origin", "http://bramble.test")]
            let made = try await request("POST", "/v1/tokens", at: address, headers: own, body: #"{"name":"ci"}"#)
            #expect(made.status == 201)
            #expect(made.text == #"{"name":"ci","token":"secret-of-ci"}"#)
            let authorization = [("Authorization", "Bearer secret-of-ci")]
            #expect(try await request("GET", "/v1/nodes", at: address, headers: authorization).status == 200)
            let listed = try await request("GET", "/v1/tokens", at: address, headers: authorization)
            #expect(listed.text.contains("ci") && !listed.text.contains("secret"))
            #expect(
                try await request("POST", "/v1/tokens", at: address, headers: own, body: #"{"name":"ci"}"#).status
                    == 409)
            #expect(try await request("DELETE", "/v1/tokens/ci", at: address, headers: own).status == 200)
            #expect(try await request("GET", "/v1/nodes", at: address, headers: authorization).status == 401)
        }
    }

    @Test("a new password needs the current one and ends the user's other sessions")
    func password() async throws {
        try await withServer { _, address in
            let mine = try await logIn(at: address)
            let other = try await logIn(at: address)
            let own = [("Cookie", mine), ("Origin", "http://bramble.test")]
            let without = try await request(
                "POST", "/v1/password", at: address, headers: own, body: #"{"password":"battery staple"}"#)
            #expect(without.status == 400)
            let wrong = try await request(
                "POST", "/v1/password", at: address, headers: own,
                body: #"{"current":"no","password":"battery staple"}"#)
            #expect(wrong.status == 401)
            let short = try await request(
                "POST", "/v1/password", at: address, headers: own,
                body: #"{"current":"correct horse","password":"x"}"#)
            #expect(short.status == 400)
            let done = try await request(
                "POST", "/v1/password", at: address, headers: own,
                body: #"{"current":"correct horse","password":"battery staple"}"#)
            #expect(done.status == 200)
            #expect(try await request("GET", "/v1/nodes", at: address, headers: [("Cookie", mine)]).status == 200)
            #expect(try await request("GET", "/v1/nodes", at: address, headers: [("Cookie", other)]).status == 401)
            _ = try await logIn(at: address, password: "battery staple")
        }
    }

    @Test("no secret gets into the log, however much is logged")
    func nothingSecretIsLogged() async throws {
        let result = await #expect(
            processExitsWith: .success, observing: [\.standardErrorContent]
        ) {
            try await talkSecrets()
        }
        let log = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(log.contains("GET /v1/nodes 200"), "the log was written: \(log)")
        for secret in ["correct horse", "secret-of-ci", "guess-of-mine", "bramble-"] { #expect(!log.contains(secret)) }
    }
}
