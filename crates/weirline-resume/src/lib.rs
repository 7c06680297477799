//! Sessions and streams that outlive connections: the resume protocol, both sides, without I/O.
