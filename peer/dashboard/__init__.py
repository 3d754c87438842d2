"""A web page that shows a live group: its peers, their connections and what they learn. It only asks for statuses."""
