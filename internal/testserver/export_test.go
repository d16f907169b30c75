package testserver

// Log returns the end of what a server has logged since it was last started.
func Log(s Server) string { return s.node().logTail() }
