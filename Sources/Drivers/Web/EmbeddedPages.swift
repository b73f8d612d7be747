// Written by embed-pages from the folder Pages: change the files there, then run it.
// swift-format-ignore-file
extension Asset {
    static let embedded: [Asset] = [
        Asset(path: "index.html", type: "text/html; charset=utf-8", tag: "8f33ddf16b89d172", content: ####"""
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Bramble</title>
<h1>Bramble</h1>

"""####),
        Asset(path: "login.html", type: "text/html; charset=utf-8", tag: "8f33ddf16b89d172", content: ####"""
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Bramble</title>
<h1>Bramble</h1>

"""####),
        Asset(path: "style.css", type: "text/css; charset=utf-8", tag: "2708d73bf31c36cd", content: ####"""
body{}

"""####),
    ]
}
